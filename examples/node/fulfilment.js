// An example consumer that ships every paid order exactly once: see ../README.md.
import { DatabaseSync } from 'node:sqlite'
import { Consumer } from '@platformatic/kafka'

const { KAFKA_BROKERS = '127.0.0.1:9092', GROUP = 'fulfilment', TOPIC_PREFIX = '', DATABASE = 'fulfilment.db' } = process.env
const words = { 'payment.captured': 'fulfilled', 'refund.succeeded': 'refunded' }

const db = new DatabaseSync(DATABASE)
db.exec(`
CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, corrects TEXT NOT NULL, why TEXT NOT NULL, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (type TEXT NOT NULL, order_id TEXT NOT NULL, value INTEGER NOT NULL, currency TEXT NOT NULL);`)
const isHandled = db.prepare('SELECT 1 FROM handled WHERE id = ?')
const isHeld = db.prepare('SELECT 1 FROM held WHERE corrects = ?') // the event, or a correction of it
const isRefunded = db.prepare("SELECT 1 FROM outbox WHERE type = 'refund.succeeded' AND order_id = ?")
const release = db.prepare('DELETE FROM held WHERE id = ?')
const keep = db.prepare('INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING')
const remember = db.prepare('INSERT INTO handled VALUES (?), (?) ON CONFLICT DO NOTHING')
const ship = db.prepare('INSERT INTO outbox VALUES (?, ?, ?, ?)')

// transaction runs work in one database transaction. Work must not await.
function transaction(work) {
  db.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    db.exec('COMMIT')
    return result
  } catch (error) {
    db.exec('ROLLBACK')
    throw error
  }
}

// handle does the work for one event and stores the event's id. It returns a line that says what was done, or undefined
// for an id that was handled or held before.
function handle(value) {
  const { id, type, data } = JSON.parse(value)
  const { merchant_transaction_id: order, corrects, amount } = data
  if (isHandled.get(id) || isHeld.get(id)) return
  // A correction replaces the event that it corrects. If that one was held, its row is deleted here; if it is read later,
  // its id is in the table handled by then, or in the column corrects of held.
  if (corrects) release.run(corrects)
  const why = hold(type, data)
  if (why) {
    keep.run(id, corrects ?? id, why, value)
    return `held ${type} ${order}: ${why}`
  }
  remember.run(id, corrects ?? id)
  ship.run(type, order, amount.value, amount.currency) // the work: put your own here
  return `${words[type]} ${order} ${amount.value} ${amount.currency}` // minor units: 1099 EUR is 10.99 €
}

// hold returns why a person should look at an event before it is handled, or undefined. A late event is not held: the
// money was paid, and the only newer event that matters here, a refund, is looked up in outbox.
function hold(type, { merchant_transaction_id: order, key_source, corrects, contradicts, amount }) {
  if (corrects && isHandled.get(corrects)) return `it corrects ${corrects}, which was handled`
  if (!['payload', 'reference'].includes(key_source)) return 'whose order it is is not known yet, a correction may follow'
  if (contradicts) return `it contradicts ${contradicts}`
  if (!amount || amount.currency === 'XXX') return 'it has no amount with a currency'
  if (type === 'payment.captured' && isRefunded.get(order)) return 'it was refunded before it was shipped'
}

const consumer = new Consumer({
  clientId: 'fulfilment',
  bootstrapBrokers: KAFKA_BROKERS.split(','),
  groupId: GROUP,
  sessionTimeout: 10_000, // after a kill, the partitions go to another consumer this much later
})
const messages = await consumer.consume({
  topics: [`${TOPIC_PREFIX}payment.captured`, `${TOPIC_PREFIX}refund.succeeded`],
  mode: 'committed',
  fallbackMode: 'earliest', // where a new group begins
  autocommit: false,
})
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => messages.close())
for await (const message of messages) {
  const start = message.value[0] === 0 ? 5 : 0 // after the id of its schema, if tollbridge has a Schema Registry
  const line = transaction(() => handle(message.value.toString('utf8', start)))
  if (line) console.log(line)
  await message.commit() // after the work: Kafka delivers again what is not committed
}
await consumer.close()
db.close()
