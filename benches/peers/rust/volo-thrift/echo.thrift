namespace rs bench

struct EchoMessage {
    1: required binary payload,
}

service Echo {
    // Returns the message.
    EchoMessage echo(1: EchoMessage message),
}
