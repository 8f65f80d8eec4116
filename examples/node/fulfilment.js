// Ships every paid order once: see ../README.md.
import { DatabaseSync } from 'node:sqlite'
import { Consumer } from '@platformatic/kafka'

const { KAFKA_BROKERS = '127.0.0.1:9092', GROUP = 'fulfilment', TOPIC_PREFIX = '', DATABASE = 'fulfilment.db' } = process.env
const words = { 'payment.captured': 'fulfilled', 'refund.succeeded': 'refunded' }

const db = new DatabaseSync(DATABASE)
db.exec(`
CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, why TEXT NOT NULL, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (type TEXT NOT NULL, order_id TEXT NOT NULL, value INTEGER NOT NULL, currency TEXT NOT NULL);`)
const isHandled = db.prepare('SELECT 1 FROM handled WHERE id = ?')
const isRefunded = db.prepare("SELECT 1 FROM outbox WHERE type = 'refund.succeeded' AND order_id = ?")
const release = db.prepare('DELETE FROM held WHERE id = ?')
const keep = db.prepare('INSERT INTO held VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
const remember = db.prepare('INSERT INTO handled VALUES (?), (?) ON CONFLICT DO NOTHING')
const ship = db.prepare('INSERT INTO outbox VALUES (?, ?, ?, ?)')

// transaction runs work, which must not await, as one transaction.
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

// handle does what an event asks for and remembers its id. It returns a line that says what was done, or none for an
// id that was handled before.
function handle(value) {
  const { id, type, data } = JSON.parse(value)
  const { merchant_transaction_id: order, corrects, amount } = data
  if (isHandled.get(id)) return
  // A correction takes the place of the event that it corrects, here or, if that one comes later, there.
  if (corrects) release.run(corrects)
  const why = hold(type, data)
  if (why) {
    keep.run(id, why, value)
    return `held ${type} ${order}: ${why}`
  }
  remember.run(id, corrects ?? id)
  ship.run(type, order, amount.value, amount.currency) // the work: what ships parcels reads this table
  return `${words[type]} ${order} ${amount.value} ${amount.currency}` // minor units: 1099 EUR is 10.99 €
}

// hold says why a person should look at an event first. That it is late is no reason: the money is there, and the newer
// event that would matter here, a refund, is looked up.
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
  sessionTimeout: 10_000, // how long a killed one's partitions stay with nobody
})
const messages = await consumer.consume({
  topics: [`${TOPIC_PREFIX}payment.captured`, `${TOPIC_PREFIX}refund.succeeded`],
  mode: 'committed',
  fallbackMode: 'earliest', // of a group that has committed nothing yet
  autocommit: false,
})
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => messages.close())
for await (const message of messages) {
  const line = transaction(() => handle(message.value.toString()))
  if (line) console.log(line)
  await message.commit() // after the work: what is not committed comes again
}
await consumer.close()
db.close()
