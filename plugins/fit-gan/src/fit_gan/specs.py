"""The hooks that this package brings."""

# mypy: disable-error-code="empty-body, no-untyped-def"

from fit_core.hookspecs import notice, stage


class Specs:
    """Hooks of adversarial training, called by the plugin `adversarial`."""

    @stage(returns="outputs")
    def draw_noise(self, trainer, state, count):
        """Draw what the generator makes samples of.

        Implement it for another distribution.

        Default: a normal distribution, (count, latent), from the plugin's own stream of random numbers.

        `count` is how many samples.

        Returns: noise on `state.device`. The first result that is not None wins.
        """

    @stage(returns="module")
    def choose_generator(self, trainer, state):
        """Give the generator that makes samples to look at.

        Implement it to sample from averaged weights.

        Default: the model's generator.

        Returns: an `nn.Module`. The first result that is not None wins.
        """

    @notice
    def on_d_loss_end(self, trainer, state):
        """Hear that the discriminator's loss is there: the place for its terms.

        `state.loss` may be changed; `state.inputs` are the real samples, `state[FAKE]` the fakes, `state[D_REAL]` and
        `state[D_FAKE]` what the discriminator returned for them.

        Default: nothing.

        Returns: ignored.
        """

    @notice
    def on_g_loss_end(self, trainer, state):
        """Hear that the generator's loss is there: the place for its terms.

        As `on_d_loss_end`; `state[D_FAKE]` leads back to the generator.

        Default: nothing.

        Returns: ignored.
        """
