package publish

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// TestDeadlineAtAnswer lets a caller's deadline pass at the moment when the broker's
// acknowledgement comes. The caller gets either an error or a complete receipt. The
// ledger has exactly the records that were written though their caller was refused.
func TestDeadlineAtAnswer(t *testing.T) {
	k := newCluster(Config{}.withDefaults())
	defer k.stop()
	acknowledged, refused := 0, 0
	for i := range 20_000 {
		p := &partition{cluster: k, topic: &topic{name: "a"}}
		p.topic.limit.Store(defaultMaxMessage)
		c := newCall([]kafka.Record{{Topic: "a", ID: fmt.Sprint(i), Key: []byte("k"), Value: []byte("v")}})
		if err := p.addRecord(&c.records[0], &c.slots[0], time.Now()); err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		b := p.queue[0]
		b.inFlight, b.sealed = true, true
		p.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var all sync.WaitGroup
		var at []kafka.Receipt
		var err error
		all.Go(func() {
			c.wait(ctx)
			at, err = c.result(k.ledger)
		})
		all.Go(func() { p.onResponse(b, 0, 42, nil) })
		all.Wait()
		e := k.ledger.find(ledgerKey(&kafka.Record{Topic: "a", ID: fmt.Sprint(i)}))
		if err == nil {
			acknowledged++
			if at[0] != (kafka.Receipt{Topic: "a", Offset: 42}) || e != nil {
				t.Fatalf("acknowledged with the receipt %+v and the ledger entry %+v, want offset 42 and no entry", at[0], e)
			}
			continue
		}
		refused++
		if e == nil || e.fate != stored || e.receipt.Offset != 42 {
			t.Fatalf("refused with %v and the ledger entry %+v, want an entry with offset 42", err, e)
		}
	}
	t.Logf("%d acknowledged, %d refused", acknowledged, refused)
}
