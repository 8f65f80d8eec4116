package publish

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/compress"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// A record batch of format 2 is sent as four bytes of length, a header of 61
// bytes, and the records, which compression may have made one block:
// https://kafka.apache.org/documentation/#recordbatch
const (
	lengthSize = 4
	headerSize = 61
	// recordRoom is an upper bound for what the encoding of a record adds to its key,
	// value and headers.
	recordRoom = 40
)

// batch is a Kafka record batch: encoded records of one partition, of which the broker
// writes all or none. The partition's lock guards it.
type batch struct {
	buf           []byte  // room for length and header, then the records
	slots         []*slot // one for each record, in the same order
	first, last   int64   // the first record's timestamp and the latest, in ms
	reservedBytes int64   // bytes reserved of [Config.MaxBytes]

	wire     []byte // the encoded batch, the same at every attempt; nil before the first attempt
	inFlight bool   // sent and not answered
	// unknown is set once an attempt ended and the log may or may not have the batch.
	// From then on its bytes never change.
	unknown     bool
	sealed      bool // no more records may be added
	attempts    int
	lastAttempt time.Time     // when the last attempt ended
	openedAt    time.Time     // when its first record was added
	notAfter    time.Duration // the earliest [kafka.Record.NotAfter]; 0: none
}

var buffers = sync.Pool{New: func() any { return make([]byte, 0, 16<<10) }}

func newBatch() *batch {
	return &batch{buf: buffers.Get().([]byte)[:lengthSize+headerSize], slots: make([]*slot, 0, 8)}
}

// recycle returns the buffer to the pool. Only the slots of a finished batch are used
// afterwards.
func (b *batch) recycle() {
	if b.buf != nil && cap(b.buf) <= 1<<20 {
		//lint:ignore SA6002 the slice header's 24 bytes are cheaper than the buffer
		buffers.Put(b.buf[:0])
	}
	b.buf, b.wire = nil, nil
}

// add appends a record.
func (b *batch) add(r *kafka.Record, now int64, s *slot) {
	if len(b.slots) == 0 {
		b.first, b.last = now, now
	}
	b.last = max(b.last, now)
	b.buf = appendRecord(b.buf, r, now-b.first, len(b.slots))
	b.addSlot(s)
}

func (b *batch) addSlot(s *slot) {
	s.batch, s.index = b, len(b.slots)
	b.slots = append(b.slots, s)
	if s.notAfter > 0 && (b.notAfter == 0 || s.notAfter < b.notAfter) {
		b.notAfter = s.notAfter
	}
}

// isLate reports whether a record of the batch must not be sent any more.
func (b *batch) isLate() bool { return b.notAfter > 0 && kafka.Clock() > b.notAfter }

func appendRecord(to []byte, r *kafka.Record, age int64, index int) []byte {
	to = binary.AppendVarint(to, int64(recordSize(r, age, index)))
	to = append(to, 0) // attributes: none are defined
	to = binary.AppendVarint(to, age)
	to = binary.AppendVarint(to, int64(index))
	to = appendBytes(to, r.Key)
	to = appendBytes(to, r.Value)
	to = binary.AppendVarint(to, int64(len(r.Headers)))
	for i := range r.Headers {
		to = binary.AppendVarint(to, int64(len(r.Headers[i].Name)))
		to = append(to, r.Headers[i].Name...)
		to = binary.AppendVarint(to, int64(len(r.Headers[i].Value)))
		to = append(to, r.Headers[i].Value...)
	}
	return to
}

// appendBytes appends a nullable field: length -1 is null.
func appendBytes(to, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(to, -1)
	}
	return append(binary.AppendVarint(to, int64(len(field))), field...)
}

// recordSize returns the length that prefixes an encoded record.
func recordSize(r *kafka.Record, age int64, index int) int {
	n := 1 + varintSize(age) + varintSize(int64(index)) + fieldSize(r.Key) + fieldSize(r.Value) + varintSize(int64(len(r.Headers)))
	for i := range r.Headers {
		n += varintSize(int64(len(r.Headers[i].Name))) + len(r.Headers[i].Name) +
			varintSize(int64(len(r.Headers[i].Value))) + len(r.Headers[i].Value)
	}
	return n
}

func fieldSize(field []byte) int {
	if field == nil {
		return 1
	}
	return varintSize(int64(len(field))) + len(field)
}

// varintSize is the length of a zigzag varint.
func varintSize(v int64) int {
	n := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// eachRecord calls do with each encoded record, without its length prefix.
func (b *batch) eachRecord(do func(s *slot, body []byte)) {
	rest := b.buf[lengthSize+headerSize:]
	for _, s := range b.slots {
		size, n := binary.Varint(rest)
		do(s, rest[n:n+int(size)])
		rest = rest[n+int(size):]
	}
}

// withoutAbandoned returns a new batch of those records whose callers still wait, or nil if
// there are none. The batch must not be in the log.
func (b *batch) withoutAbandoned() *batch {
	var to *batch
	b.eachRecord(func(s *slot, body []byte) {
		if s.fate != waiting {
			return
		}
		if to == nil {
			to = newBatch()
		}
		to.appendEncoded(body, b.first, s)
	})
	return to
}

// singles returns one batch for each record. The batch must not be in the log.
func (b *batch) singles() []*batch {
	var all []*batch
	b.eachRecord(func(s *slot, body []byte) {
		one := newBatch()
		one.sealed = true
		one.appendEncoded(body, b.first, s)
		all = append(all, one)
	})
	return all
}

// appendEncoded appends a record that was encoded for another batch, whose first
// timestamp is first.
func (b *batch) appendEncoded(body []byte, first int64, s *slot) {
	at := 1 // the position after the attributes
	age, n := binary.Varint(body[at:])
	at += n
	_, n = binary.Varint(body[at:])
	fields := body[at+n:]
	when, index := first+age, len(b.slots)
	if index == 0 {
		b.first, b.last = when, when
	}
	b.last = max(b.last, when)
	b.buf = binary.AppendVarint(b.buf, int64(1+varintSize(when-b.first)+varintSize(int64(index))+len(fields)))
	b.buf = append(b.buf, 0)
	b.buf = binary.AppendVarint(b.buf, when-b.first)
	b.buf = binary.AppendVarint(b.buf, int64(index))
	b.buf = append(b.buf, fields...)
	b.addSlot(s)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal encodes the batch for sending, with a producer id and the sequence number of its
// first record.
func (b *batch) seal(id producerID, sequence int32, codec compress.Codec) {
	b.wire = b.buf
	attributes := uint16(0)
	if codec != nil {
		if packed := b.compress(codec); len(packed) < len(b.buf) {
			b.wire, attributes = packed, uint16(codec.Code())
		}
	}
	n := uint32(len(b.slots))
	binary.BigEndian.PutUint32(b.wire, uint32(len(b.wire)-lengthSize))
	h := b.wire[lengthSize:]
	binary.BigEndian.PutUint64(h, 0)                     // base offset: the broker sets it
	binary.BigEndian.PutUint32(h[8:], uint32(len(h)-12)) // length of the rest
	binary.BigEndian.PutUint32(h[12:], math.MaxUint32)   // partition leader epoch: the broker sets it
	h[16] = 2                                            // format version
	binary.BigEndian.PutUint16(h[21:], attributes)       // attributes: the compression
	binary.BigEndian.PutUint32(h[23:], n-1)              // last offset delta
	binary.BigEndian.PutUint64(h[27:], uint64(b.first))  // base timestamp
	binary.BigEndian.PutUint64(h[35:], uint64(b.last))   // max timestamp
	binary.BigEndian.PutUint64(h[43:], uint64(id.id))    // producer id
	binary.BigEndian.PutUint16(h[51:], uint16(id.epoch)) // producer epoch
	binary.BigEndian.PutUint32(h[53:], uint32(sequence)) // base sequence
	binary.BigEndian.PutUint32(h[57:], n)                // number of records
	binary.BigEndian.PutUint32(h[17:], crc32.Checksum(h[21:], castagnoli))
}

// compress returns the compressed records after room for length and header. Writing to
// memory does not fail.
func (b *batch) compress(codec compress.Codec) []byte {
	var to bytes.Buffer
	to.Write(b.buf[:lengthSize+headerSize])
	w := codec.NewWriter(&to)
	_, _ = w.Write(b.buf[lengthSize+headerSize:])
	_ = w.Close()
	return to.Bytes()
}

// nextSequence returns the sequence number that follows a batch of n records. Sequence
// numbers go from 0 to 2^31-1 and start again at 0.
func nextSequence(sequence int32, n int) int32 {
	return int32((int64(sequence) + int64(n)) & math.MaxInt32)
}
