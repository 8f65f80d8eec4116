package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// The limits of live views.
const (
	maxViews       = 200   // open at once, in one server
	maxQueue       = 2_000 // records that wait for one view; a view with more is ended
	rowsPerSecond  = 25    // a view shows at most this many records a second: more than people can read,
	reserveRows    = 500   // except for bursts of this size, which is what the page keeps
	reserveRefill  = 10    // rows a second that the reserve gets back
	maxCatchUp     = 5_000 // records that a view reads again after an interruption
	catchUps       = 4     // views that do that at once
	maxPosition    = 12 << 10
	feedInterval   = 200 * time.Millisecond // between two fetches of the feed
	feedLinger     = 10 * time.Second       // how long the feed reads after its last view was closed
	writeTime      = 10 * time.Second       // how long a browser may take for what is sent to it
	heartbeatTime  = 15 * time.Second       // proxies close connections on which nothing is sent
	leastBatchTime = 100 * time.Millisecond // between two writes to a view
)

// feed reads the topics of events, webhooks and dead letters for the live views. All
// views share one reader, which joins no consumer group and runs only while a view is
// open. It never waits for a view: each has a queue of its own, and a view whose queue
// is full is ended. The browser then resumes it at the offsets that it has seen.
type feed struct {
	reader  func() *consume.Reader
	names   func() (kafka.Names, error)
	opening sync.Mutex    // held while the reader is started
	resumes chan struct{} // a token for each view that catches up

	mu     sync.Mutex
	source *source // nil while no view is open
	views  []*liveView
	closed bool
	ended  chan struct{} // closed by close
}

// source is one run of the feed's reader.
type source struct {
	names      kafka.Names
	partitions []consume.Partition // by topic and number
	index      map[consume.Partition]int
	next       []int64 // the next offset of each partition; guarded by the feed's lock
	stop       context.CancelFunc
}

// liveView is one open live view. The feed's lock guards all fields but the first four.
type liveView struct {
	filter liveFilter
	source *source
	wants  []bool        // the partitions that can have records that match
	wake   chan struct{} // buffered, size 1: there is something to drain

	queue   []*liveRecord
	leftOut int     // matching records that were too many to show
	seen    []int64 // offsets below these were shown before; nil: none
	err     error   // why the view was ended
	second  int64   // the second that rows counts
	rows    int
	reserve int
}

var (
	errTooManyViews = fmt.Errorf("%d live views are open, which is the most that one server has: close one", maxViews)
	errTooSlow      = errors.New("the browser took too long to read: the view continues where it stopped")
	errFeedClosed   = errors.New("the server is stopping")
)

// newFeed returns a feed that reads the topics with the names, while a view is open.
func newFeed(reader func() *consume.Reader, names func() (kafka.Names, error)) *feed {
	return &feed{reader: reader, names: names, resumes: make(chan struct{}, catchUps), ended: make(chan struct{})}
}

// join opens a view, and returns the offsets at which it starts. The caller must call
// [feed.leave].
func (f *feed) join(ctx context.Context, filter liveFilter) (*liveView, []int64, error) {
	f.opening.Lock()
	defer f.opening.Unlock()
	if err := f.start(ctx); err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, nil, errFeedClosed
	case len(f.views) >= maxViews:
		return nil, nil, errTooManyViews
	case f.source == nil:
		return nil, nil, errors.New("reading from Kafka has just ended")
	}
	v := &liveView{filter: filter, source: f.source, wake: make(chan struct{}, 1), wants: make([]bool, len(f.source.partitions)), reserve: reserveRows}
	for _, p := range filter.partitions(f.source.names, f.source.partitions) {
		v.wants[f.source.index[p]] = true
	}
	f.views = append(f.views, v)
	return v, slices.Clone(f.source.next), nil
}

// start starts the reader at the ends of the topics, if it does not run.
func (f *feed) start(ctx context.Context) error {
	f.mu.Lock()
	running, closed := f.source != nil, f.closed
	f.mu.Unlock()
	if running || closed {
		return nil
	}
	names, err := f.names()
	if err != nil {
		return err
	}
	reader := f.reader()
	bounds, err := reader.TopicBounds(ctx, append(names.Events(), names.Received(), names.Dead())...)
	if err != nil {
		return err
	}
	s := &source{names: names, index: map[consume.Partition]int{}}
	for p := range bounds {
		s.partitions = append(s.partitions, p)
	}
	slices.SortFunc(s.partitions, comparePartitions)
	ranges := map[consume.Partition]consume.Range{}
	for i, p := range s.partitions {
		s.index[p] = i
		s.next = append(s.next, bounds[p].To)
		ranges[p] = consume.Range{From: bounds[p].To, To: consume.Forever}
	}
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		stop()
		return errFeedClosed
	}
	f.source = s
	go func() {
		err := reader.Read(run, ranges, func(chunks []consume.Chunk) error { return f.add(s, chunks) })
		if run.Err() == nil {
			f.end(s, fmt.Errorf("the topics cannot be read: %w", err))
		}
	}()
	time.AfterFunc(feedLinger, f.stopIfIdle) // in case the first view is closed before it has joined
	return nil
}

// comparePartitions orders partitions by topic and number.
func comparePartitions(a, b consume.Partition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Number, b.Number))
}

// add gives the records of chunks to the views.
func (f *feed) add(s *source, chunks []consume.Chunk) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.source != s {
		return errFeedClosed
	}
	now := time.Now().Unix()
	for _, c := range chunks {
		i := s.index[c.Partition]
		for _, record := range c.Records {
			r := &liveRecord{Record: record, names: s.names}
			for _, v := range f.views {
				v.offer(r, i, now)
			}
		}
		s.next[i] = c.Next
	}
	for n := len(f.views) - 1; n >= 0; n-- {
		if v := f.views[n]; v.err != nil || len(v.queue) > 0 || v.leftOut > 0 {
			v.notify()
			if v.err != nil {
				f.views = slices.Delete(f.views, n, n+1)
			}
		}
	}
	return nil
}

// offer queues a record that the filter matches. A view gets at most [rowsPerSecond]:
// the seconds are those of the clock, so that views without a filter get the same
// records, which are then rendered once.
func (v *liveView) offer(r *liveRecord, partition int, second int64) {
	if v.err != nil || !v.wants[partition] || v.seen != nil && r.Offset < v.seen[partition] {
		return
	}
	if v.second != second {
		v.reserve = int(min(int64(reserveRows), int64(v.reserve)+reserveRefill*min(second-v.second, reserveRows)))
		v.second, v.rows = second, 0
	}
	if v.filter.Key != "" && v.filter.Key != string(r.Key) {
		return
	}
	full := v.rows >= rowsPerSecond && v.reserve == 0
	if full && !v.filter.needsDecoding() { // not decoded, if it is not shown
		v.leftOut++
		return
	}
	if i := r.item(); i == nil || !v.filter.matches(i) {
		return
	}
	if full {
		v.leftOut++
		return
	}
	if len(v.queue) >= maxQueue {
		v.queue, v.err = nil, errTooSlow
		return
	}
	if v.rows++; v.rows > rowsPerSecond {
		v.reserve--
	}
	v.queue = append(v.queue, r)
}

// notify tells the view's handler that its queue is not empty, or that the view was ended.
func (v *liveView) notify() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// drain empties the queue of a view, and returns its records and the offsets after them.
func (f *feed) drain(v *liveView) (records []*liveRecord, leftOut int, next []int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	records, leftOut, next, err = v.queue, v.leftOut, slices.Clone(v.source.next), v.err
	v.queue, v.leftOut = nil, 0
	for i, n := range v.seen {
		next[i] = max(next[i], n)
	}
	return records, leftOut, next, err
}

// skip leaves out the records below offsets that a view has seen already, as from a
// server that was ahead of this one.
func (f *feed) skip(v *liveView, seen []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v.seen = seen
	v.queue = slices.DeleteFunc(v.queue, func(r *liveRecord) bool {
		return r.Offset < seen[v.source.index[r.Partition]]
	})
}

// leave closes a view. The last one stops the reader, after [feedLinger].
func (f *feed) leave(v *liveView) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.views = slices.DeleteFunc(f.views, func(o *liveView) bool { return o == v })
	if len(f.views) == 0 {
		time.AfterFunc(feedLinger, f.stopIfIdle)
	}
}

// stopIfIdle stops the reader if no view is open.
func (f *feed) stopIfIdle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.source != nil && len(f.views) == 0 {
		f.source.stop()
		f.source = nil
	}
}

// end ends the views of a source whose reader has failed.
func (f *feed) end(s *source, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.source != s {
		return
	}
	for _, v := range f.views {
		v.err = err
		v.notify()
	}
	f.views, f.source = nil, nil
	s.stop()
}

// close ends all views, and refuses further ones.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	close(f.ended)
	if f.source != nil {
		f.source.stop()
		f.source = nil
	}
}

// openViews returns how many views are open.
func (f *feed) openViews() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.views)
}

// position is the next offset of each partition, as the `id:` of a live view has it: for
// each topic without the prefix, the offsets of its partitions to base 36. Zeros at the
// end are left out. It is [atZero] if nothing is left, and empty if it would be longer than
// [maxPosition], the room that a request has for it.
func position(prefix string, partitions []consume.Partition, next []int64) string {
	var b []byte
	for from := 0; from < len(partitions); {
		to, last := from, -1
		for ; to < len(partitions) && partitions[to].Topic == partitions[from].Topic; to++ {
			if next[to] > 0 {
				last = to
			}
		}
		if last >= 0 {
			if len(b) > 0 {
				b = append(b, ',')
			}
			b = append(b, strings.TrimPrefix(partitions[from].Topic, prefix)...)
			for n := from; n <= last; n++ {
				b = append(b, ':')
				if next[n] > 0 {
					b = strconv.AppendInt(b, next[n], 36)
				}
			}
		}
		from = to
	}
	switch {
	case len(b) > maxPosition:
		return ""
	case len(b) == 0:
		return atZero
	}
	return string(b)
}

// atZero is the position at which every offset is 0.
const atZero = "0"

// parsePosition parses the text of [position]. Partitions that it leaves out have the
// offset 0.
func parsePosition(prefix, text string) (map[consume.Partition]int64, bool) {
	all := map[consume.Partition]int64{}
	switch {
	case len(text) > maxPosition:
		return nil, false
	case text == atZero:
		return all, true
	}
	for topic := range strings.SplitSeq(text, ",") {
		offsets := strings.Split(topic, ":")
		if len(offsets) < 2 {
			return nil, false
		}
		for n, digits := range offsets[1:] {
			if digits == "" {
				continue
			}
			offset, err := strconv.ParseInt(digits, 36, 64)
			if err != nil || offset < 0 {
				return nil, false
			}
			all[consume.Partition{Topic: prefix + offsets[0], Number: n}] = offset
		}
	}
	return all, true
}
