// Fulfilment is an example consumer that ships every paid order exactly once: see ../README.md.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	_ "modernc.org/sqlite"
)

const tables = `
CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, corrects TEXT NOT NULL, why TEXT NOT NULL, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (type TEXT NOT NULL, order_id TEXT NOT NULL, value INTEGER NOT NULL, currency TEXT NOT NULL);`

// event has the fields of a CloudEvents event that fulfilment needs.
type event struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Data struct {
		Order     string `json:"merchant_transaction_id"`
		KeySource string `json:"key_source"`
		Amount    struct {
			Value    int64  `json:"value"` // minor units: 1099 EUR is 10.99 €
			Currency string `json:"currency"`
		} `json:"amount"`
		Contradicts string `json:"contradicts"`
		Corrects    string `json:"corrects"`
	} `json:"data"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	db, err := sql.Open("sqlite", cmp.Or(os.Getenv("DATABASE"), "fulfilment.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(tables); err != nil {
		return err
	}
	prefix := os.Getenv("TOPIC_PREFIX")
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers:        strings.Split(cmp.Or(os.Getenv("KAFKA_BROKERS"), "127.0.0.1:9092"), ","),
		GroupID:        cmp.Or(os.Getenv("GROUP"), "fulfilment"),
		GroupTopics:    []string{prefix + "payment.captured", prefix + "refund.succeeded"},
		StartOffset:    kafka.FirstOffset, // where a new group begins
		SessionTimeout: 10 * time.Second,  // after a kill, the partitions go to another consumer this much later
	})
	defer r.Close()
	for {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return err
		}
		done, err := handle(db, m.Value)
		if err != nil {
			return fmt.Errorf("%s[%d]@%d: %w", m.Topic, m.Partition, m.Offset, err) // not committed: Kafka delivers it again
		}
		if done != "" {
			fmt.Println(done)
		}
		if err := r.CommitMessages(ctx, m); err != nil {
			return err
		}
	}
}

// handle does the work for one event and stores the event's id, both in one transaction. It returns a line that says
// what was done, or "" for an id that was handled or held before.
func handle(db *sql.DB, value []byte) (string, error) {
	if len(value) > 5 && value[0] == 0 {
		value = value[5:] // the id of its schema, if tollbridge has a Schema Registry
	}
	var e event
	if err := json.Unmarshal(value, &e); err != nil {
		return "", err
	}
	tx, err := db.Begin()
	if err != nil {
		return "", err
	}
	defer tx.Rollback()
	var seen, corrected, refunded bool
	if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM handled WHERE id = ?1 UNION ALL SELECT 1 FROM held WHERE corrects = ?1),
		EXISTS (SELECT 1 FROM handled WHERE id = ?2), EXISTS (SELECT 1 FROM outbox WHERE order_id = ?3 AND type = 'refund.succeeded')`,
		e.ID, e.Data.Corrects, e.Data.Order).Scan(&seen, &corrected, &refunded); err != nil || seen {
		return "", err
	}
	// A correction replaces the event that it corrects. If that one was held, its row is deleted here; if it is read
	// later, its id is in the table handled by then, or in the column corrects of held.
	if _, err := tx.Exec(`DELETE FROM held WHERE id = ?`, e.Data.Corrects); err != nil {
		return "", err
	}
	if why := hold(e, corrected, refunded); why != "" {
		if _, err := tx.Exec(`INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`, e.ID, cmp.Or(e.Data.Corrects, e.ID), why, string(value)); err != nil {
			return "", err
		}
		return fmt.Sprintf("held %s %s: %s", e.Type, e.Data.Order, why), tx.Commit()
	}
	if _, err := tx.Exec(`INSERT INTO handled VALUES (?), (?) ON CONFLICT DO NOTHING`, e.ID, cmp.Or(e.Data.Corrects, e.ID)); err != nil {
		return "", err
	}
	// The work: put your own here. The program that ships parcels reads this table.
	if _, err := tx.Exec(`INSERT INTO outbox VALUES (?, ?, ?, ?)`, e.Type, e.Data.Order, e.Data.Amount.Value, e.Data.Amount.Currency); err != nil {
		return "", err
	}
	word := map[string]string{"payment.captured": "fulfilled", "refund.succeeded": "refunded"}[e.Type]
	return fmt.Sprintf("%s %s %d %s", word, e.Data.Order, e.Data.Amount.Value, e.Data.Amount.Currency), tx.Commit()
}

// hold returns why a person should look at an event before it is handled, or "". A late event is not held: the money
// was paid, and the only newer event that matters here, a refund, is looked up in outbox.
func hold(e event, corrected, refunded bool) string {
	switch d := e.Data; {
	case corrected:
		return "it corrects " + d.Corrects + ", which was handled"
	case d.KeySource != "payload" && d.KeySource != "reference":
		return "whose order it is is not known yet, a correction may follow"
	case d.Contradicts != "":
		return "it contradicts " + d.Contradicts
	case d.Amount.Currency == "" || d.Amount.Currency == "XXX":
		return "it has no amount with a currency"
	case refunded && e.Type == "payment.captured":
		return "it was refunded before it was shipped"
	}
	return ""
}
