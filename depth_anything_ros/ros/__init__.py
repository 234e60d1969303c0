"""rclpy for the node and the programs: messages, subscriptions, QoS, spinning; knows no model."""
