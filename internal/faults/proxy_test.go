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
)

// proxies stand between tollbridge and the brokers. They read frames, a size
// of four bytes and as many after it, and change none.
type proxies struct {
	mood  atomic.Int32
	nth   int64 // the produce request that is hurt: each nth
	count atomic.Int64
	hurt  atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
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
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxies) serve(client net.Conn, address string) {
	defer client.Close()
	broker, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer broker.Close()
	p.mu.Lock()
	p.conns = append(p.conns, client, broker)
	p.mu.Unlock()
	for p.exchange(client, broker) == nil {
	}
}

const produce = 0 // its API key

// exchange forwards a request and its reply: tollbridge's connections carry one
// at a time.
func (p *proxies) exchange(client, broker net.Conn) error {
	request, err := frame(client)
	if err != nil {
		return err
	}
	m := mood(p.mood.Load())
	chosen := binary.BigEndian.Uint16(request[4:]) == produce && p.count.Add(1)%p.nth == 0
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
