"""More than one machine: a server with replicas behind Sentinels, TLS, and RabbitMQ as broker, as real processes."""
