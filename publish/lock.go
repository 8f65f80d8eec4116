package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/syncgroup"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Lock is held by the only command that writes to a topic set: `dead retry`,
// `dead discard` and `replay` look for what is published before they write, and
// two of them at once would both find nothing. Servers take no lock.
//
// Who holds it is what a consumer group says, whose name is [kafka.Names.LockName]: its
// members' metadata say who they are, its leader's assignment says which of them
// holds the lock, and Kafka removes a member that is silent for [sessionTime].
//
// A holder that was stopped and goes on later cannot know in time that it is a
// member no more. So whoever takes the lock fences the one before: all write with
// a producer id of one transactional id, also named [kafka.Names.LockName], whose epoch rises
// with each holder. The new holder ends an empty transaction over all partitions,
// whose control records carry its epoch into each. What a former holder sent
// before is in the log by then, for the new one to read; what it sends later is
// refused by the partition's leader.
//
// It is not for the server: it needs the group's and the transactions'
// coordinators, and rights on both.
type Lock struct {
	config   kafka.Config
	name     string
	self     LockHolder
	group    coordinator // used by Acquire, then by keep, then by Release
	producer producerID

	ctx     context.Context
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	member        string
	generation    int32
	lastHeartbeat atomic.Pointer[time.Time] // when the last heartbeat that was answered well was sent
}

// LockHolder is who holds a [Lock], as the others are told.
type LockHolder struct {
	Command string    `json:"command"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
}

// LockHeldError is the error of [AcquireLock] where another holds the lock.
type LockHeldError struct{ LockHolder }

func (e *LockHeldError) Error() string {
	return fmt.Sprintf("%q is writing to these topics, process %d on %q, since %s: wait until it ends, or end it, and run this again",
		e.Command, e.PID, e.Host, e.Since.UTC().Format(time.RFC3339))
}

// ErrLockLost is the cause with which a lock's context ends that is held no more.
var ErrLockLost = errors.New("the lock on the topics is lost: Kafka did not hear of this command for a while, and another may write now; run this again, what it has written is recognised")

// The times of a [Lock].
const (
	sessionTime   = 10 * time.Second // after which a silent holder has lost it; brokers take 6 s to 30 min
	heartbeatTime = time.Second      // between two heartbeats
	joinTime      = 2 * sessionTime  // for an answer to joining, which waits for the other members
	acquireTime   = 2 * time.Minute  // to find coordinators and to take the lock
	releaseTime   = 3 * time.Second
)

// AcquireLock takes the lock of a topic set, whose topics must be there. Where another
// holds it the error is a [LockHeldError]. A holder that was killed holds it until
// [sessionTime] has passed, and AcquireLock waits for that.
func AcquireLock(ctx context.Context, c kafka.Config, n kafka.Names, me LockHolder) (*Lock, error) {
	l := &Lock{config: c, name: n.LockName(), self: me}
	l.group = coordinator{control: kafka.AnyBroker{Config: c}, key: l.name, kind: groupKind}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	ctx, cancel := context.WithTimeout(ctx, acquireTime)
	defer cancel()
	if err := l.join(ctx, false); err != nil {
		l.cancel(err)
		l.group.close()
		return nil, fmt.Errorf("locking the topics: %w", err)
	}
	l.running.Go(l.heartbeatLoop)
	if err := l.fence(ctx, n); err != nil {
		l.Release()
		return nil, fmt.Errorf("locking the topics: %w", err)
	}
	return l, nil
}

// Context ends when the lock is lost, which its cause says, or with the context
// that it was acquired with.
func (l *Lock) Context() context.Context { return l.ctx }

// Release gives the lock up. Producers that write with it must be closed.
func (l *Lock) Release() {
	l.cancel(context.Canceled)
	l.running.Wait()
	l.leave(context.WithoutCancel(l.ctx))
	l.group.close()
}

// id returns the producer id to write with, while the lock is held.
func (l *Lock) id() (producerID, error) {
	if err := l.check(); err != nil {
		return producerID{}, err
	}
	return l.producer, nil
}

// check returns an error if the lock is not held any more.
func (l *Lock) check() error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	if time.Since(*l.lastHeartbeat.Load()) > sessionTime { // this process was stopped
		l.cancel(ErrLockLost)
		return ErrLockLost
	}
	return nil
}

// claim is the metadata of a member.
type memberMetadata struct {
	LockHolder
	Holds bool `json:"holds"` // it was assigned the lock before
}

// grant is the assignment of every member.
type assignment struct {
	Member string `json:"member"` // which holds the lock
	LockHolder
}

// join makes this a member of the group, or lets it stay one, and learns who
// holds the lock. Whoever does not leaves.
func (l *Lock) join(ctx context.Context, holds bool) error {
	mine, err := json.Marshal(memberMetadata{l.self, holds})
	if err != nil {
		return err
	}
	for {
		asked := time.Now()
		joined, code, err := callCoordinator(ctx, &l.group, joinTime, func(r *joingroup.Response) int16 { return r.ErrorCode }, &joingroup.Request{
			GroupID: l.name, MemberID: l.member, ProtocolType: lockProtocol,
			SessionTimeoutMS: int32(sessionTime / time.Millisecond), RebalanceTimeoutMS: int32(sessionTime / time.Millisecond),
			Protocols: []joingroup.RequestProtocol{{Name: lockProtocol, Metadata: mine}},
		})
		switch {
		case err != nil:
			return err
		case code == kafkago.MemberIDRequired && l.member == "":
			l.member = joined.MemberID
			continue
		case code != 0:
			return fmt.Errorf("joining the group %s: %w", l.name, code)
		}
		l.member, l.generation = joined.MemberID, joined.GenerationID
		granted, again, err := l.sync(ctx, joined)
		switch {
		case err != nil:
			return err
		case again: // others came
			continue
		case granted.Member != l.member:
			l.leave(ctx)
			return &LockHeldError{granted.LockHolder}
		}
		l.lastHeartbeat.Store(&asked)
		return nil
	}
}

// lockProtocol is the group's protocol, and its type.
const lockProtocol = "tollbridge-lock"

// sync returns who holds the lock. The group's leader decides that: whoever held
// it before, else itself.
func (l *Lock) sync(ctx context.Context, joined *joingroup.Response) (granted assignment, again bool, err error) {
	q := &syncgroup.Request{GroupID: l.name, GenerationID: l.generation, MemberID: l.member, ProtocolType: lockProtocol, ProtocolName: lockProtocol}
	if joined.LeaderID == l.member {
		g := assignment{l.member, l.self}
		for _, m := range joined.Members {
			var c memberMetadata
			if json.Unmarshal(m.Metadata, &c) == nil && c.Holds {
				g = assignment{m.MemberID, c.LockHolder}
			}
		}
		decided, err := json.Marshal(g)
		if err != nil {
			return granted, false, err
		}
		for _, m := range joined.Members {
			q.Assignments = append(q.Assignments, syncgroup.RequestAssignment{MemberID: m.MemberID, Assignment: decided})
		}
	}
	r, code, err := callCoordinator(ctx, &l.group, joinTime, func(r *syncgroup.Response) int16 { return r.ErrorCode }, q)
	switch {
	case err != nil:
		return granted, false, err
	case code == kafkago.RebalanceInProgress:
		return granted, true, nil
	case code != 0:
		return granted, false, fmt.Errorf("in the group %s: %w", l.name, code)
	}
	if err := json.Unmarshal(r.Assignments, &granted); err != nil {
		return granted, false, fmt.Errorf("the group %s is another program's, its assignment is %.100q: %w", l.name, r.Assignments, err)
	}
	return granted, false, nil
}

// keep tells Kafka that the holder is there, until the lock is released or lost.
func (l *Lock) heartbeatLoop() {
	for {
		select {
		case <-time.After(heartbeatTime):
		case <-l.ctx.Done():
			return
		}
		asked := time.Now()
		ctx, cancel := context.WithTimeout(l.ctx, sessionTime)
		_, code, err := callCoordinator(ctx, &l.group, sessionTime, func(r *heartbeat.Response) int16 { return r.ErrorCode },
			&heartbeat.Request{GroupID: l.name, GenerationID: l.generation, MemberID: l.member})
		cancel()
		switch {
		case l.ctx.Err() != nil:
			return
		case err == nil && code == 0:
			l.lastHeartbeat.Store(&asked)
		case err == nil && code == kafkago.RebalanceInProgress: // another command asks who holds the lock
			if err := l.join(l.ctx, true); err != nil && l.ctx.Err() == nil {
				l.cancel(fmt.Errorf("%w: %w", ErrLockLost, err))
			}
		case err == nil:
			l.cancel(fmt.Errorf("%w: %w", ErrLockLost, code))
		}
		if l.check() != nil {
			return
		}
	}
}

// leave ends the membership: the lock is free at once.
func (l *Lock) leave(ctx context.Context) {
	if l.member == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	// Without an answer Kafka removes the member after a while.
	_, _, _ = callCoordinator(ctx, &l.group, releaseTime, func(r *leavegroup.Response) int16 { return r.ErrorCode },
		&leavegroup.Request{GroupID: l.name, MemberID: l.member, Members: []leavegroup.RequestMember{{MemberID: l.member}}})
	l.member = ""
}

// fence has every partition refuse what former holders send.
func (l *Lock) fence(ctx context.Context, n kafka.Names) error {
	c := coordinator{control: kafka.AnyBroker{Config: l.config}, key: l.name, kind: transactionKind}
	defer c.close()
	m, err := c.control.Metadata(ctx, n.All())
	if err != nil {
		return err
	}
	if len(m.Topics) != len(n.All()) {
		return fmt.Errorf("the brokers' metadata lists %d of %d topics", len(m.Topics), len(n.All()))
	}
	add := &addpartitionstotxn.Request{TransactionalID: l.name}
	for _, t := range m.Topics {
		if t.ErrorCode != 0 {
			return fmt.Errorf("topic %s: %w", t.Name, kafkago.Error(t.ErrorCode))
		}
		if err := checkTopic(&t); err != nil {
			return err
		}
		add.Topics = append(add.Topics, addpartitionstotxn.RequestTopic{Name: t.Name, Partitions: numbers(t)})
	}
	id, code, err := callCoordinator(ctx, &c, kafka.RequestTimeout, func(r *initproducerid.Response) int16 { return r.ErrorCode },
		&initproducerid.Request{TransactionalID: l.name, TransactionTimeoutMs: int32(time.Minute / time.Millisecond), ProducerID: -1, ProducerEpoch: -1})
	if err == nil && code != 0 {
		err = fmt.Errorf("asking for the producer id of the transactional id %s: %w", l.name, code)
	}
	if err != nil {
		return err
	}
	add.ProducerID, add.ProducerEpoch = id.ProducerID, id.ProducerEpoch
	_, code, err = callCoordinator(ctx, &c, joinTime, firstError, add)
	end := &endtxn.Request{TransactionalID: l.name, ProducerID: id.ProducerID, ProducerEpoch: id.ProducerEpoch, Committed: true}
	// The first answer says that the transaction is to be ended, the second, which
	// is "concurrent transactions" until then, that all control records are written.
	for range 2 {
		if err == nil && code == 0 {
			_, code, err = callCoordinator(ctx, &c, kafka.RequestTimeout, func(r *endtxn.Response) int16 { return r.ErrorCode }, end)
		}
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("fencing the producers before with the transactional id %s: %w", l.name, code)
	}
	l.producer = producerID{id: id.ProducerID, epoch: id.ProducerEpoch, assigned: true}
	return err
}

func numbers(t metadata.ResponseTopic) (all []int32) {
	for _, p := range t.Partitions {
		all = append(all, p.PartitionIndex)
	}
	slices.Sort(all)
	return all
}

// firstError returns what is wrong with the first partition that something is
// wrong with. Where that is, the others are not tried.
func firstError(r *addpartitionstotxn.Response) (code int16) {
	for _, t := range r.Results {
		for _, p := range t.Results {
			if p.ErrorCode != 0 && (code == 0 || kafkago.Error(code) == operationNotAttempted) {
				code = p.ErrorCode
			}
		}
	}
	return code
}

// operationNotAttempted is what a broker says of the partitions beside one that
// something is wrong with.
const operationNotAttempted kafkago.Error = 55

// The kinds of [coordinator].
const (
	groupKind       = 0
	transactionKind = 1
)

// coordinator is the broker that is asked about a group or a transactional id.
// One goroutine uses it. Close it.
type coordinator struct {
	control kafka.AnyBroker
	key     string
	kind    int8
	conn    *kafka.Conn
}

// coordinate sends a request to the coordinator, wherever it is, until it is ready to
// answer it. It returns the answer's error code, which code reads, or an error
// where there is no answer until ctx is done.
func callCoordinator[R protocol.Message](ctx context.Context, c *coordinator, within time.Duration, code func(R) int16, q protocol.Message) (answer R, _ kafkago.Error, _ error) {
	for {
		err := c.connect(ctx)
		if err == nil {
			var m protocol.Message
			if m, err = c.conn.RoundTrip(q, within); err == nil {
				answer = m.(R)
				said := kafkago.Error(code(answer))
				if !coordinatorRetriable(said) {
					return answer, said, nil
				}
				err = said
			}
			if !errors.Is(err, kafkago.ConcurrentTransactions) {
				c.disconnect()
			}
		}
		var refused kafkago.Error // by whoever was asked for the coordinator
		if errors.As(err, &refused) && !coordinatorRetriable(refused) {
			return answer, refused, nil
		}
		select {
		case <-time.After(coordinatorRetryInterval):
		case <-ctx.Done():
			return answer, 0, fmt.Errorf("%s: %w: %w", c, context.Cause(ctx), err)
		}
	}
}

// notYet reports whether a coordinator, or who was asked for it, may answer
// otherwise in a moment.
func coordinatorRetriable(code kafkago.Error) bool {
	switch code {
	case kafkago.GroupLoadInProgress, kafkago.GroupCoordinatorNotAvailable, kafkago.NotCoordinatorForGroup, kafkago.ConcurrentTransactions:
		return true
	}
	return false
}

// coordinatorPace is between two attempts to ask a coordinator.
const coordinatorRetryInterval = 50 * time.Millisecond

// String names the coordinator, and what an operator can do where there is none.
func (c *coordinator) String() string {
	if c.kind == transactionKind {
		return "the coordinator of the transactional id " + c.key + " (with fewer than 3 brokers, Kafka needs transaction.state.log.replication.factor and transaction.state.log.min.isr set)"
	}
	return "the coordinator of the group " + c.key + " (with fewer than 3 brokers, Kafka needs offsets.topic.replication.factor set)"
}

// connect makes sure that there is a connection.
func (c *coordinator) connect(ctx context.Context) error {
	if c.conn != nil && c.conn.Expired() {
		c.disconnect()
	}
	if c.conn != nil {
		return nil
	}
	m, err := c.control.RoundTrip(ctx, &findcoordinator.Request{Key: c.key, KeyType: c.kind})
	if err != nil {
		return err
	}
	r := m.(*findcoordinator.Response)
	if r.ErrorCode != 0 {
		return kafkago.Error(r.ErrorCode)
	}
	c.conn, err = c.control.Dial(ctx, net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))))
	return err
}

func (c *coordinator) disconnect() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *coordinator) close() {
	c.disconnect()
	c.control.Close()
}
