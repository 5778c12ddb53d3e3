"""The desk as seven services on Kafka: what each of them is made of. The rooms are the ones of ``desk.rooms``."""
