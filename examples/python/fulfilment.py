"""An example consumer that ships every paid order exactly once: see ../README.md."""

import json
import os
import signal
import sqlite3

from confluent_kafka import Consumer, KafkaException

TABLES = """
CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, corrects TEXT NOT NULL, why TEXT NOT NULL, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (type TEXT NOT NULL, order_id TEXT NOT NULL, value INTEGER NOT NULL, currency TEXT NOT NULL);
"""
WORDS = {"payment.captured": "fulfilled", "refund.succeeded": "refunded"}


def handle(db, value):
    """Does the work for one event and stores the event's id, both in one transaction. Returns a line that says what
    was done, or None for an id that was handled or held before."""
    if value[0] == 0:
        value = value[5:]  # after the id of its schema, if tollbridge has a Schema Registry
    event = json.loads(value)
    data = event["data"]
    order, corrects = data["merchant_transaction_id"], data.get("corrects")
    with db:  # commits, or rolls back on an exception
        db.execute("BEGIN IMMEDIATE")
        if handled(db, event["id"]) or held(db, event["id"]):
            return None
        # A correction replaces the event that it corrects. If that one was held, its row is deleted here; if it is
        # read later, its id is in the table handled by then, or in the column corrects of held.
        db.execute("DELETE FROM held WHERE id = ?", [corrects])
        if why := hold(db, event):
            db.execute("INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", [event["id"], corrects or event["id"], why, value.decode()])
            return f"held {event['type']} {order}: {why}"
        db.execute("INSERT INTO handled VALUES (?), (?) ON CONFLICT DO NOTHING", [event["id"], corrects or event["id"]])
        # The work: put your own here. The program that ships parcels reads this table. The amount is in minor units:
        # 1099 EUR is 10.99 €.
        amount = data["amount"]
        db.execute("INSERT INTO outbox VALUES (?, ?, ?, ?)", [event["type"], order, amount["value"], amount["currency"]])
    return f"{WORDS[event['type']]} {order} {amount['value']} {amount['currency']}"


def hold(db, event):
    """Returns why a person should look at an event before it is handled, or None. A late event is not held: the money
    was paid, and the only newer event that matters here, a refund, is looked up in outbox."""
    data = event["data"]
    if handled(db, data.get("corrects")):
        return f"it corrects {data['corrects']}, which was handled"
    if data["key_source"] not in ("payload", "reference"):
        return "whose order it is is not known yet, a correction may follow"
    if "contradicts" in data:
        return f"it contradicts {data['contradicts']}"
    if data.get("amount", {}).get("currency", "XXX") == "XXX":
        return "it has no amount with a currency"
    refunded = "SELECT 1 FROM outbox WHERE type = 'refund.succeeded' AND order_id = ?"
    if event["type"] == "payment.captured" and db.execute(refunded, [data["merchant_transaction_id"]]).fetchone():
        return "it was refunded before it was shipped"
    return None


def handled(db, event_id):
    return db.execute("SELECT 1 FROM handled WHERE id = ?", [event_id]).fetchone()


def held(db, event_id):
    """Returns whether the event, or a correction of it, is held."""
    return db.execute("SELECT 1 FROM held WHERE corrects = ?", [event_id]).fetchone()


def main():
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    db = sqlite3.connect(os.getenv("DATABASE", "fulfilment.db"), isolation_level=None)  # None: this program begins transactions itself
    db.executescript(TABLES)
    consumer = Consumer({
        "bootstrap.servers": os.getenv("KAFKA_BROKERS", "127.0.0.1:9092"),
        "group.id": os.getenv("GROUP", "fulfilment"),
        "auto.offset.reset": "earliest",  # where a new group begins
        "enable.auto.commit": False,
        "session.timeout.ms": 10_000,  # after a kill, the partitions go to another consumer this much later
    })
    prefix = os.getenv("TOPIC_PREFIX", "")
    consumer.subscribe([prefix + "payment.captured", prefix + "refund.succeeded"])
    try:
        while not stopping:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            if line := handle(db, message.value()):
                print(line, flush=True)
            consumer.commit(message, asynchronous=False)  # after the work: Kafka delivers again what is not committed
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
