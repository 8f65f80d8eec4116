package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/schemas"
)

// example is a consumer in a folder of examples/. It must run in a copy of that folder.
// Its packages come from the caches of the language's tools.
type example struct {
	language string
	tools    []string   // on the PATH
	fetch    [][]string // commands that get its packages; if all fail, the test is skipped
	build    []string   // may be empty
	run      []string
}

var examples = []example{
	{language: "go", fetch: [][]string{{"go", "mod", "download"}}, build: []string{"go", "build", "-o", "fulfilment", "."}, run: []string{"./fulfilment"}},
	{language: "python", tools: []string{"python3"}, run: []string{".venv/bin/python", "fulfilment.py"},
		fetch: [][]string{{"python3", "-m", "venv", ".venv"}, {".venv/bin/pip", "install", "-q", "-r", "requirements.txt"}}},
	{language: "java", tools: []string{"java", "mvn"}, fetch: [][]string{{"mvn", "-q", "-B", "dependency:copy-dependencies"}},
		run: []string{"java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", "target/dependency/*", "Fulfilment.java"}},
	{language: "node", tools: []string{"node", "npm"}, run: []string{"node_modules/.bin/node", "fulfilment.js"},
		fetch: [][]string{{"npm", "ci"}, {"npm", "install", "--no-save", "node@24.21.0"}}}, // the system's may be too old
}

// A consumer finds this many orders, and is killed after it has fulfilled killedAfter.
const orders, killedAfter = 300, 20

// TestExamples: a consumer that is killed and started again, and that reads duplicates and
// corrections, fulfils every order once and reads all events.
func TestExamples(t *testing.T) {
	b := start(t)
	outbox := filepath.Join(t.TempDir(), "outbox")
	source, err := filepath.Abs("testdata/outbox.go")
	if err != nil {
		t.Fatal(err)
	}
	examples[0].prepare(t, copyExample(t, "go")) // or there is no SQLite to read with
	command(t, "../../examples/go", "go", "build", "-o", outbox, source)
	want := b.orders(t)
	for _, e := range examples {
		t.Run(e.language, func(t *testing.T) {
			t.Parallel()
			b.consume(t, e, outbox, want)
		})
	}
}

// consume runs an example, kills it, and runs it again until it has read everything. Then
// it compares the rows of its database, which the program outbox prints.
func (b *tollbridge) consume(t *testing.T, e example, outbox string, want []string) {
	t.Helper()
	dir, group := copyExample(t, e.language), b.names.Prefix+e.language
	e.prepare(t, dir)
	consumer := func() *exec.Cmd {
		c := exec.Command(e.run[0], e.run[1:]...)
		c.Dir = dir
		c.Env = append(os.Environ(), "KAFKA_BROKERS="+strings.Join(b.brokers, ","), "TOPIC_PREFIX="+b.names.Prefix, "GROUP="+group, "DATABASE=fulfilment.db")
		return c
	}
	killed := killAfter(t, consumer(), killedAfter)
	lines := b.untilRead(t, consumer(), group)
	t.Logf("%d lines before the kill, %d after", len(killed), len(lines))
	got := strings.Split(strings.TrimSpace(command(t, dir, outbox, "fulfilment.db")), "\n")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the database has %d rows, want %d; missing %v, too many %v", len(got), len(want), minus(want, got), minus(got, want))
	}
	// A killed consumer may not print its last line, and a held event may be printed twice.
	lines = slices.DeleteFunc(append(lines, killed...), func(line string) bool { return strings.HasPrefix(line, "held ") })
	slices.Sort(lines)
	for i := range lines[1:] {
		if lines[i] == lines[i+1] {
			t.Errorf("written twice: %s", lines[i])
		}
	}
	if !t.Failed() {
		kafkatest.Report(t, "example consumer in %s: killed and run again, %d orders, each fulfilled once", e.language, orders)
	}
}

// orders makes tollbridge publish the orders and the events of oddities, and returns the
// rows that a consumer should have for them, sorted.
func (b *tollbridge) orders(t *testing.T) (want []string) {
	t.Helper()
	var senders sync.WaitGroup
	for s := range 8 {
		senders.Go(func() {
			for i := s; i < orders; i += 8 {
				for range 1 + i%2 { // every second one twice
					if a, err := b.deliver("stripe", captured(fmt.Sprint("order-", i))); err != nil || a.StatusCode != http.StatusOK {
						t.Errorf("%v %v\n%s", a, err, b.log)
					}
				}
			}
		})
	}
	senders.Wait()
	for i := range orders {
		want = append(want, fmt.Sprintf("payment.captured order-%d 100 EUR", i))
	}
	want = append(want, b.oddities(t)...)
	slices.Sort(want)
	return want
}

// oddities publishes events that are not simply a payment, stops the server, and returns
// the rows that a consumer should have for them.
func (b *tollbridge) oddities(t *testing.T) []string {
	t.Helper()
	// The order of this payment and of this refund is known only later: corrections follow.
	b.receiptOf(t, []byte(strings.Replace(string(captured("order-early")), `"metadata":{"order_id":"order-early"}`, `"metadata":{}`, 1)))
	b.receiptOf(t, another("order-early", "payment_intent.processing"))
	for _, payload := range []string{trios["adyen"].refund, trios["adyen"].payment} {
		if a, err := b.deliver("adyen", []byte(strings.ReplaceAll(payload, "ORDER", "order-refund"))); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%v %v\n%s", a, err, b.log)
		}
	}
	// Cancelled and paid: held for a person.
	b.receiptOf(t, another("order-cancelled", "payment_intent.canceled"))
	b.receiptOf(t, captured("order-cancelled"))

	b.await(t, schemas.RefundSucceeded, "order-refund")
	early := b.await(t, schemas.PaymentCaptured, "order-early")
	cancelled := b.await(t, schemas.PaymentCaptured, "order-cancelled")
	first := b.await(t, schemas.PaymentCaptured, "order-7")
	b.stop(t)

	var e schemas.Event
	if err := json.Unmarshal([]byte(cancelled.value), &e); err != nil || e.Data.Contradicts == "" {
		t.Fatalf("%v, %+v, want a payment that contradicts its cancellation", err, e)
	}
	contradicts := e.ID
	// Duplicates, as after a crash of tollbridge, and a correction, as of a replay.
	if err := json.Unmarshal([]byte(first.value), &e); err != nil {
		t.Fatal(err)
	}
	e.Data.Corrects, e.ID, e.Data.Amount = e.ID, "corrects-order-7", &schemas.Amount{Value: 999, Currency: "EUR"}
	corrected := first
	corrected.value = encode(t, e)
	// A correction that is read before its original and held: the original is not handled.
	original, correction := first, first
	o := e
	o.ID, o.Subject, o.Data.MerchantTransactionID, o.Data.Corrects = "original-held", "order-held", "order-held", ""
	original.value = encode(t, o)
	o.ID, o.Data.Corrects, o.Data.Contradicts = "corrects-held", "original-held", "cancelled-held"
	correction.value = encode(t, o)
	b.write(t, framed(first), early, framed(corrected), framed(early), correction, framed(original))
	return []string{"held corrects-held", "payment.captured order-early 100 EUR", "refund.succeeded order-refund 400 EUR", "held " + contradicts, "held " + e.ID}
}

// framed returns a record as tollbridge writes it with a Schema Registry. The id of the
// schema has bytes that are not UTF-8.
func framed(r record) record {
	r.value = string(schemas.Frame(0x7f0080ff, []byte(r.value)))
	return r
}

// another returns a payload of another event type, of the payment that captured makes.
func another(order, kind string) []byte {
	payload := strings.Replace(string(captured(order)), `"id":"evt_`, `"id":"evt_another_`, 1)
	return []byte(strings.Replace(payload, "payment_intent.succeeded", kind, 1))
}

// await returns the first record of a type that has a key, once there is one.
func (b *tollbridge) await(t *testing.T, of schemas.Type, key string) record {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		for _, r := range b.read(t, b.names.Event(of)) {
			if r.key == key {
				return r
			}
		}
	}
	t.Fatalf("no %s of %s\n%s", of, key, b.log)
	panic("unreachable")
}

// write adds records to their partitions.
func (b *tollbridge) write(t *testing.T, records ...record) {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(b.brokers...), Timeout: 10 * time.Second}
	for _, r := range records {
		a, err := client.Produce(t.Context(), &kafka.ProduceRequest{Topic: r.topic, Partition: r.partition, RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Key: kafka.NewBytes([]byte(r.key)), Value: kafka.NewBytes([]byte(r.value))})})
		if err == nil {
			err = a.Error
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// copyExample copies a language's folder to where nothing else of ours is, but
// for what running it there has left: folders, and its database.
func copyExample(t *testing.T, language string) string {
	t.Helper()
	from, to := filepath.Join("../../examples", language), t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), "fulfilment.db") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, entry.Name()), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// prepare makes an example ready to run, or skips the test and says what is missing.
func (e example) prepare(t *testing.T, dir string) {
	t.Helper()
	skip := func(format string, args ...any) {
		why := fmt.Sprintf(format, args...)
		kafkatest.Report(t, "EXAMPLE NOT RUN: the consumer in %s (%s)", e.language, why)
		t.Skipf("NOT TESTED: the example in %s: %s", e.language, why)
	}
	for _, tool := range e.tools {
		if _, err := exec.LookPath(tool); err != nil {
			skip("no %s: install %s", tool, strings.Join(e.tools, " and "))
		}
	}
	for _, fetch := range e.fetch {
		if out, err := try(t, dir, fetch); err != nil {
			skip("%s: %v: %s", strings.Join(fetch, " "), err, lastLine(out))
		}
	}
	if e.build != nil {
		command(t, dir, e.build...)
	}
}

// command runs a command that has to succeed and returns what it prints.
func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := try(t, dir, args)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func try(t *testing.T, dir string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir, c.WaitDelay = dir, 10*time.Second // mvn and npm leave children that hold the output
	out, err := c.CombinedOutput()
	return string(out), err
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// killAfter runs a consumer, kills it when it has fulfilled so many orders,
// and returns the lines it wrote.
func killAfter(t *testing.T, c *exec.Cmd, fulfilled int) (lines []string) {
	t.Helper()
	var errors bytes.Buffer
	c.Stderr = &errors
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	giveUp := time.AfterFunc(2*time.Minute, func() { _ = c.Process.Kill() })
	defer giveUp.Stop()
	for scan := bufio.NewScanner(out); scan.Scan(); {
		if lines = append(lines, scan.Text()); strings.HasPrefix(scan.Text(), "fulfilled ") {
			if fulfilled--; fulfilled == 0 {
				_ = c.Process.Kill()
			}
		}
	}
	_ = c.Wait() // it was killed
	if fulfilled > 0 {
		t.Fatalf("it ended after %d lines\n%s", len(lines), errors.String())
	}
	return lines
}

// untilRead runs a consumer until its group has read everything, ends it as an
// operator would, and returns the lines it wrote.
func (b *tollbridge) untilRead(t *testing.T, c *exec.Cmd, group string) []string {
	t.Helper()
	var out bytes.Buffer // read when it has ended
	var errors lockedBuffer
	c.Stdout, c.Stderr = &out, &errors
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	defer c.Process.Kill()
	deadline := time.After(2 * time.Minute)
	for b.lag(t, group) > 0 {
		select {
		case err := <-ended:
			t.Fatalf("it ended before everything was read: %v\n%s", err, errors.String())
		case <-deadline:
			t.Fatalf("%d records are not read after two minutes\n%s", b.lag(t, group), errors.String())
		case <-time.After(200 * time.Millisecond):
		}
	}
	// Whatever its language puts into its membership, rewind sees that it is there.
	says, err := exec.Command(b.binary, "rewind", group, "--to", "earliest", "--apply", "--config", b.config).CombinedOutput()
	if err == nil || !strings.Contains(string(says), " members; stop them first: ") {
		t.Errorf("rewind while it is a member: %v: %s", err, says)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		if code := c.ProcessState.ExitCode(); code != 0 && code != 128+int(syscall.SIGTERM) { // as a JVM ends
			t.Errorf("after SIGTERM: %v, want exit code 0\n%s", c.ProcessState, errors.String())
		}
	case <-time.After(time.Minute):
		t.Fatalf("it goes on a minute after SIGTERM\n%s", errors.String())
	}
	if lag := b.lag(t, group); lag != 0 {
		t.Errorf("lag %d at the end, want none", lag)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

// lag returns how many records, of the topics that the examples read, a group has not committed.
func (b *tollbridge) lag(t *testing.T, group string) (lag int64) {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(b.brokers...), Timeout: 10 * time.Second}
	ends, ask := map[string][]kafka.OffsetRequest{}, map[string][]int{}
	for _, of := range []schemas.Type{schemas.PaymentCaptured, schemas.RefundSucceeded} {
		for p := range partitions {
			topic := b.names.Event(of)
			ends[topic], ask[topic] = append(ends[topic], kafka.LastOffsetOf(p)), append(ask[topic], p)
		}
	}
	last, err := client.ListOffsets(t.Context(), &kafka.ListOffsetsRequest{Topics: ends})
	if err != nil {
		t.Fatal(err)
	}
	committed, err := client.OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{GroupID: group, Topics: ask})
	if err != nil {
		t.Fatal(err)
	}
	for topic, parts := range last.Topics {
		for _, p := range parts {
			lag += p.LastOffset
			for _, c := range committed.Topics[topic] {
				if c.Partition == p.Partition {
					lag -= max(0, c.CommittedOffset)
				}
			}
		}
	}
	return lag
}

// minus returns the elements of a that are not in b.
func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
