"""rclpy for every program: messages, subscriptions, QoS, spinning; knows no model."""
