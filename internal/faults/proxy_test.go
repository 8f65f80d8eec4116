package faults_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// mood is what the proxies do to the requests that come.
type mood int32

const (
	honest   mood = iota
	noReply       // the broker applies a produce request, and its connection ends before the reply
	halfSent      // a produce request is cut in its middle
	slow          // every frame takes its time, there and back
	noID          // no producer id is given
)

// proxies stand between tollbridge and the brokers. They read frames, a size
// of four bytes and as many after it, and change none but answers to requests for
// a producer id.
type proxies struct {
	mood  atomic.Int32
	nth   int64 // the produce request that is hurt: each nth
	count atomic.Int64
	hurt  atomic.Int64
	conns atomic.Int64 // that were taken, of all

	mu   sync.Mutex
	open []net.Conn
}

// interpose listens where the brokers say that they are.
func interpose(t *testing.T, via []kafkatest.Via) *proxies {
	t.Helper()
	p := &proxies{nth: 5}
	for _, v := range via {
		l, err := net.Listen("tcp", v.Front)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go p.serve(c, v.Behind)
			}
		}()
	}
	t.Cleanup(p.cut)
	return p
}

// cut ends all connections.
func (p *proxies) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

func (p *proxies) serve(client net.Conn, address string) {
	defer client.Close()
	p.conns.Add(1)
	broker, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer broker.Close()
	p.mu.Lock()
	p.open = append(p.open, client, broker)
	p.mu.Unlock()
	for p.exchange(client, broker) == nil {
	}
}

// API keys.
const (
	produce        = 0
	initProducerID = 22
)

// refuseID has an answer to a request for a producer id of a version refuse it. From
// version 2 on its header ends with tagged fields, of which there are none.
func refuseID(answer []byte, version uint16) {
	const head, throttle, clusterAuthorizationFailed = 4 + 4, 4, 31
	at := head + throttle
	if version >= 2 {
		at++
	}
	binary.BigEndian.PutUint16(answer[at:], clusterAuthorizationFailed)
}

// exchange forwards a request and its reply: tollbridge's connections carry one
// at a time.
func (p *proxies) exchange(client, broker net.Conn) error {
	request, err := frame(client)
	if err != nil {
		return err
	}
	m := mood(p.mood.Load())
	key := binary.BigEndian.Uint16(request[4:])
	chosen := key == produce && p.count.Add(1)%p.nth == 0
	if m == slow {
		time.Sleep(30 * time.Millisecond)
	}
	if chosen && m == halfSent {
		p.hurt.Add(1)
		_, _ = broker.Write(request[:len(request)/2])
		return net.ErrClosed
	}
	if _, err := broker.Write(request); err != nil {
		return err
	}
	reply, err := frame(broker)
	if err != nil {
		return err
	}
	if chosen && m == noReply {
		p.hurt.Add(1)
		return net.ErrClosed
	}
	if m == noID && key == initProducerID {
		p.hurt.Add(1)
		refuseID(reply, binary.BigEndian.Uint16(request[6:]))
	}
	if m == slow {
		time.Sleep(30 * time.Millisecond)
	}
	_, err = client.Write(reply)
	return err
}

// frame reads one, with its size.
func frame(c net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 64<<20 {
		return nil, io.ErrUnexpectedEOF
	}
	all := make([]byte, 4+n)
	copy(all, size[:])
	_, err := io.ReadFull(c, all[4:])
	return all, err
}
