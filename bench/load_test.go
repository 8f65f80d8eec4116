package bench_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/procfs"
	"github.com/valyala/fasthttp"

	"github.com/tollbridge/tollbridge/internal/sign"
)

// load configures the load generator, which is a process of its own. Each connection
// has one request in flight: it sends the next when the answer arrives.
type load struct {
	URLs        []string // the replicas of the contestant; the connections are spread over them
	Secret      string
	Run         string // makes the ids of the webhooks unique to a run
	Connections int
	Size        int // bytes of a body
	Warm, For   time.Duration
	Processes   []int    // the process ids of the replicas
	Brokers     []int    // the brokers' process ids
	Mallocs     []string // where the replicas report their numbers of allocations
}

// measured is the result of a load. The figures leave out the warm-up; CPU, BrokerCPU
// and Mallocs are for one webhook.
type measured struct {
	Rate      float64 // webhooks answered 2xx per second
	P50, P99  float64 // milliseconds from the request to its answer
	CPU       float64 // microseconds of the contestant's processes
	BrokerCPU float64 // microseconds of the brokers' processes
	Mallocs   float64
	Acked     int // answered 2xx, including the warm-up
	Failed    int // not answered 2xx
	Failure   string
}

// answers counts the answers on one connection.
type answers struct {
	took          []time.Duration // response times after the warm-up
	acked, failed int
	failure       string
}

// generate runs the load generator.
func generate(in io.Reader, out io.Writer) error {
	var l load
	if err := json.NewDecoder(in).Decode(&l); err != nil {
		return err
	}
	m, err := l.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(m)
}

func (l load) run() (measured, error) {
	client := &fasthttp.Client{MaxConnsPerHost: l.Connections, ReadTimeout: 10 * time.Second, RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false }}
	var counts, over atomic.Bool
	all := make([]answers, l.Connections)
	var running sync.WaitGroup
	for i := range all {
		running.Go(func() { all[i] = l.connection(client, i, &counts, &over) })
	}
	time.Sleep(l.Warm)
	before, err := l.spent()
	counts.Store(true)
	time.Sleep(l.For)
	counts.Store(false)
	after, err2 := l.spent()
	over.Store(true)
	running.Wait()
	if err := errors.Join(err, err2); err != nil {
		return measured{}, err
	}
	return sum(all, before, after), nil
}

// connection sends webhooks until the time is over.
func (l load) connection(client *fasthttp.Client, number int, counts, over *atomic.Bool) (a answers) {
	w, url := newWriter(fmt.Sprintf("%s%04d", l.Run, number), l.Size), l.URLs[number%len(l.URLs)]
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	for !over.Load() {
		signed, err := sign.Request("stripe", w.next(), l.Secret, nil, url, time.Now())
		if err == nil {
			request.SetRequestURI(url)
			request.Header.SetMethod(http.MethodPost)
			for name := range signed.Header {
				request.Header.Set(name, signed.Header.Get(name))
			}
			request.SetBodyRaw(signed.Body)
			began, counted := time.Now(), counts.Load()
			err = client.Do(request, response)
			if status := response.StatusCode(); err == nil && status/100 != 2 {
				err = fmt.Errorf("status %d: %.200s", status, response.Body())
			}
			if took := time.Since(began); err == nil && counted && counts.Load() {
				a.took = append(a.took, took)
			}
		}
		if err != nil {
			a.failed++
			a.failure = err.Error()
			time.Sleep(10 * time.Millisecond)
			continue
		}
		a.acked++
	}
	return a
}

// spent is what the processes had used at one time.
type spent struct {
	at                 time.Time
	processes, brokers time.Duration
	mallocs            float64
}

// spent reads the counters in the same order before and after the load, so that the
// cost of reading them is the same.
func (l load) spent() (s spent, err error) {
	for _, address := range l.Mallocs {
		n, err := mallocs(address)
		if err != nil {
			return s, err
		}
		s.mallocs += n
	}
	if s.brokers, err = cpu(l.Brokers...); err != nil {
		return s, err
	}
	s.processes, err = cpu(l.Processes...)
	s.at = time.Now()
	return s, err
}

// cpu returns the CPU time of processes, with the kernel's resolution of 10 ms.
func cpu(pids ...int) (used time.Duration, err error) {
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return 0, err
		}
		stat, err := p.Stat()
		if err != nil {
			return 0, err
		}
		used += time.Duration(stat.CPUTime() * float64(time.Second))
	}
	return used, nil
}

// memory returns how many bytes of memory a process has now, and had at most.
func memory(pid int) (now, most uint64, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, err
	}
	s, err := p.NewStatus()
	return s.VmRSS, s.VmHWM, err
}

// mallocsForm matches the number of allocations in the formats of expvar and
// Prometheus.
var mallocsForm = regexp.MustCompile(`(?m)(?:"Mallocs": ?|^go_memstats_mallocs_total )([0-9.e+]+)`)

// mallocs returns the number of objects that a process has allocated.
func mallocs(address string) (float64, error) {
	r, err := http.Get(address)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err
	}
	m := mallocsForm.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%s does not report the number of allocations", address)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func sum(all []answers, before, after spent) measured {
	var m measured
	var took []time.Duration
	for _, a := range all {
		m.Acked, m.Failed, m.Failure = m.Acked+a.acked, m.Failed+a.failed, cmp.Or(m.Failure, a.failure)
		took = append(took, a.took...)
	}
	if len(took) == 0 {
		return m
	}
	slices.Sort(took)
	n := float64(len(took))
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	m.Rate = n / after.at.Sub(before.at).Seconds()
	m.P50, m.P99 = milliseconds(took[len(took)/2]), milliseconds(took[len(took)*99/100])
	m.CPU = float64((after.processes - before.processes).Microseconds()) / n
	m.BrokerCPU = float64((after.brokers - before.brokers).Microseconds()) / n
	m.Mallocs = (after.mallocs - before.mallocs) / n
	return m
}

// The webhooks of one payment, in the order in which Stripe sends them.
var webhookTypes = []string{"payment_intent.processing", "payment_intent.amount_capturable_updated", "payment_intent.succeeded"}

// received is how much of the payment was captured at each of these webhooks, in cents.
var received = []int{0, 0, 1099}

// statuses are the statuses of each payment by then.
var statuses = []string{"processing", "requires_capture", "succeeded"}

// writer makes webhooks of payments that no other writer makes.
type writer struct {
	id     string
	size   int
	number int
}

func newWriter(id string, size int) *writer { return &writer{id: id, size: size} }

// next returns a new webhook of the requested size. Metadata fills what the
// PaymentIntent's other fields leave.
func (w *writer) next() []byte {
	payment := fmt.Sprintf("%s%08d", w.id, w.number/len(webhookTypes))
	kind := w.number % len(webhookTypes)
	w.number++
	fields := ""
	if w.size >= 2<<10 {
		fields = intentFields
	}
	b := fmt.Appendf(make([]byte, 0, w.size), `{"id":"evt_%s%d","object":"event","created":%d,"livemode":true,"type":"%s","data":{"object":{`+
		`"id":"pi_%[1]s","object":"payment_intent","amount":1099,"amount_capturable":1099,"amount_received":%[6]d,"currency":"eur",`+
		`"latest_charge":"ch_%[1]s","payment_method_types":["card"],"status":"%[7]s",%[5]s"metadata":{"order_id":"%[1]s"`,
		payment, kind, time.Now().Unix(), webhookTypes[kind], fields, received[kind], statuses[kind])
	return append(fill(b, w.size-len("}}}}")), "}}}}"...)
}

// fill adds metadata up to a size, in values as long as Stripe allows.
func fill(b []byte, size int) []byte {
	const most, around = 500, len(`,"note_00":""`)
	for i := 0; size-len(b) >= around; i++ {
		n := min(most, size-len(b)-around)
		if rest := size - len(b) - around - n; rest > 0 && rest < around {
			n -= around // leave room for the last value
		}
		b = fmt.Appendf(b, `,"note_%02d":"%s"`, i, strings.Repeat("lorem ipsum dolor sit amet ", 20)[:n])
	}
	return b
}

// intentFields are the other fields of a PaymentIntent.
// https://docs.stripe.com/api/payment_intents/object
const intentFields = `"amount_details":{"tip":{}},"application":null,"application_fee_amount":null,"automatic_payment_methods":{"allow_redirects":"always","enabled":true},` +
	`"canceled_at":null,"cancellation_reason":null,"capture_method":"manual","client_secret":null,"confirmation_method":"automatic","created":1767225590,` +
	`"customer":"cus_PqTb0Bench0001","description":"Order of two books and a lamp","excluded_payment_method_types":null,"last_payment_error":null,"livemode":true,` +
	`"next_action":null,"on_behalf_of":null,"payment_method":"pm_1PqTb0Bench0001","payment_method_configuration_details":null,` +
	`"payment_method_options":{"card":{"installments":null,"mandate_options":null,"network":null,"request_three_d_secure":"automatic"}},` +
	`"processing":null,"receipt_email":null,"review":null,"setup_future_usage":null,"shipping":null,"source":null,"statement_descriptor":null,` +
	`"statement_descriptor_suffix":null,"transfer_data":null,"transfer_group":null,`

// asLoad runs the load generator if this process was started as one.
func asLoad() {
	if os.Getenv("BENCH_PROCESS") == "load" {
		exit(generate(os.Stdin, os.Stdout))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
