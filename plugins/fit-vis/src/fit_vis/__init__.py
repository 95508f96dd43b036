"""fit-vis: TensorBoard, Visdom and files as sinks; figures; inside the network."""
