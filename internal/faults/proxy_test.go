package faults_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// proxyFault is the fault that the proxies inject into requests.
type proxyFault int32

const (
	noFault  proxyFault = iota
	noReply             // the broker gets a produce request; the connection is closed before the reply
	halfSent            // only the first half of a produce request is sent
	slow                // every request and every reply is delayed
	noID                // requests for a producer id are refused
	noClaims            // fetches of claims get no reply; the connection is closed
)

// proxies forward requests between tollbridge and the brokers. They change only replies
// to requests for a producer id. A frame of the Kafka protocol is a size of four bytes,
// followed by that many bytes.
type proxies struct {
	fault    atomic.Int32
	nth      int64 // every nth produce request is affected
	count    atomic.Int64
	affected atomic.Int64
	conns    atomic.Int64 // number of accepted connections

	mu   sync.Mutex
	open []net.Conn
}

// startProxies starts a proxy on each address that a broker advertises.
func startProxies(t *testing.T, via []kafkatest.Via) *proxies {
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

// cut closes all connections.
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
	for p.forward(client, broker) == nil {
	}
}

// API keys.
const (
	produce        = 0
	fetch          = 1
	initProducerID = 22
)

// rejectProducerID replaces the reply to an InitProducerId request with an
// authorization error. From version 2 on, the response header ends with a byte for
// tagged fields.
func rejectProducerID(answer []byte, version uint16) {
	const head, throttle, clusterAuthorizationFailed = 4 + 4, 4, 31
	at := head + throttle
	if version >= 2 {
		at++
	}
	binary.BigEndian.PutUint16(answer[at:], clusterAuthorizationFailed)
}

// forward forwards one request and its response. A connection of tollbridge has one
// request in flight at a time.
func (p *proxies) forward(client, broker net.Conn) error {
	request, err := readFrame(client)
	if err != nil {
		return err
	}
	m := proxyFault(p.fault.Load())
	key := binary.BigEndian.Uint16(request[4:])
	chosen := key == produce && p.count.Add(1)%p.nth == 0
	if m == slow {
		time.Sleep(30 * time.Millisecond)
	}
	if chosen && m == halfSent {
		p.affected.Add(1)
		_, _ = broker.Write(request[:len(request)/2])
		return net.ErrClosed
	}
	if m == noClaims && key == fetch && bytes.Contains(request, []byte(kafka.Names{}.Claims())) {
		p.affected.Add(1)
		return net.ErrClosed
	}
	if _, err := broker.Write(request); err != nil {
		return err
	}
	reply, err := readFrame(broker)
	if err != nil {
		return err
	}
	if chosen && m == noReply {
		p.affected.Add(1)
		return net.ErrClosed
	}
	if m == noID && key == initProducerID {
		p.affected.Add(1)
		rejectProducerID(reply, binary.BigEndian.Uint16(request[6:]))
	}
	if m == slow {
		time.Sleep(30 * time.Millisecond)
	}
	_, err = client.Write(reply)
	return err
}

// readFrame returns a frame, including its size.
func readFrame(c net.Conn) ([]byte, error) {
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
