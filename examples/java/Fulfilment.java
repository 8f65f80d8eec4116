import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** An example consumer that ships every paid order exactly once: see ../README.md. */
public class Fulfilment {
    static final List<String> TABLES = List.of(
        "CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, corrects TEXT NOT NULL, why TEXT NOT NULL, event TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS outbox (type TEXT NOT NULL, order_id TEXT NOT NULL, value INTEGER NOT NULL, currency TEXT NOT NULL)");
    static final Map<String, String> WORDS = Map.of("payment.captured", "fulfilled", "refund.succeeded", "refunded");
    static final ObjectMapper JSON = new ObjectMapper();

    /** Does the work for one event and stores the event's id, both in the current transaction. Returns a line that says
     *  what was done, or null for an id that was handled or held before. */
    static String handle(Connection db, String value) throws Exception {
        JsonNode event = JSON.readTree(value), data = event.get("data"), amount = data.path("amount");
        String id = event.get("id").textValue(), type = event.get("type").textValue();
        String order = data.get("merchant_transaction_id").textValue(), corrects = data.path("corrects").asText(id);
        if (handled(db, id) || exists(db, "SELECT 1 FROM held WHERE corrects = ?", id)) return null;
        // A correction replaces the event that it corrects. If that one was held, its row is deleted here; if it is read
        // later, its id is in the table handled by then, or in the column corrects of held.
        execute(db, "DELETE FROM held WHERE id = ?", corrects);
        String why = hold(db, type, order, data);
        if (why != null) {
            execute(db, "INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", id, corrects, why, value);
            return "held " + type + " " + order + ": " + why;
        }
        execute(db, "INSERT INTO handled VALUES (?), (?) ON CONFLICT DO NOTHING", id, corrects);
        // The work: put your own here. The program that ships parcels reads this table. The amount is in minor units:
        // 1099 EUR is 10.99 €.
        execute(db, "INSERT INTO outbox VALUES (?, ?, ?, ?)", type, order, amount.get("value").longValue(), amount.get("currency").textValue());
        return WORDS.get(type) + " " + order + " " + amount.get("value") + " " + amount.get("currency").textValue();
    }

    /** Returns why a person should look at an event before it is handled, or null. A late event is not held: the money
     *  was paid, and the only newer event that matters here, a refund, is looked up in outbox. */
    static String hold(Connection db, String type, String order, JsonNode data) throws SQLException {
        if (data.has("corrects") && handled(db, data.get("corrects").textValue()))
            return "it corrects " + data.get("corrects").textValue() + ", which was handled";
        if (!List.of("payload", "reference").contains(data.get("key_source").textValue()))
            return "whose order it is is not known yet, a correction may follow";
        if (data.has("contradicts")) return "it contradicts " + data.get("contradicts").textValue();
        if (data.path("amount").path("currency").asText("XXX").equals("XXX")) return "it has no amount with a currency";
        if (type.equals("payment.captured") && exists(db, "SELECT 1 FROM outbox WHERE type = 'refund.succeeded' AND order_id = ?", order))
            return "it was refunded before it was shipped";
        return null;
    }

    static boolean handled(Connection db, String id) throws SQLException {
        return exists(db, "SELECT 1 FROM handled WHERE id = ?", id);
    }

    static boolean exists(Connection db, String query, Object... values) throws SQLException {
        try (PreparedStatement s = bind(db, query, values)) {
            return s.executeQuery().next();
        }
    }

    static void execute(Connection db, String statement, Object... values) throws SQLException {
        try (PreparedStatement s = bind(db, statement, values)) {
            s.executeUpdate();
        }
    }

    static PreparedStatement bind(Connection db, String statement, Object... values) throws SQLException {
        PreparedStatement s = db.prepareStatement(statement);
        for (int i = 0; i < values.length; i++) s.setObject(i + 1, values[i]);
        return s;
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> env = System.getenv();
        String prefix = env.getOrDefault("TOPIC_PREFIX", "");
        try (Connection db = DriverManager.getConnection("jdbc:sqlite:" + env.getOrDefault("DATABASE", "fulfilment.db"));
             KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(Map.of(
                 "bootstrap.servers", env.getOrDefault("KAFKA_BROKERS", "127.0.0.1:9092"),
                 "group.id", env.getOrDefault("GROUP", "fulfilment"),
                 "auto.offset.reset", "earliest", // where a new group begins
                 "enable.auto.commit", "false",
                 "session.timeout.ms", "10000"), // after a kill, the partitions go to another consumer this much later
                 new StringDeserializer(), new ByteArrayDeserializer())) {
            db.setAutoCommit(false);
            for (String table : TABLES) execute(db, table);
            db.commit();
            Thread main = Thread.currentThread();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                consumer.wakeup();
                try { main.join(); } catch (InterruptedException e) { main.interrupt(); }
            }));
            consumer.subscribe(List.of(prefix + "payment.captured", prefix + "refund.succeeded"));
            while (true) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    byte[] value = record.value();
                    int start = value[0] == 0 ? 5 : 0; // after the id of its schema, if tollbridge has a Schema Registry
                    String line = handle(db, new String(value, start, value.length - start, StandardCharsets.UTF_8)); // an exception ends the program: nothing is committed, and Kafka delivers it again
                    db.commit();
                    if (line != null) System.out.println(line);
                }
                consumer.commitSync(); // after the work
            }
        } catch (WakeupException e) {
            // SIGTERM: Kafka delivers again what was handled and not committed, and its id is found in the table handled
        }
    }
}
