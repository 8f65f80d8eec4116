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

// Lock makes sure that only one command at a time writes to a set of topics. `dead
// retry`, `dead discard` and `replay` check what is published before they write; two of
// them at once could both find an event missing, and write it twice. Servers do not
// acquire the lock: it needs the coordinators of groups and of transactions, and
// permissions on both.
//
// The lock is a consumer group named [kafka.Names.LockName]. The metadata of its members
// say which commands they are, the assignment by the group's leader says which member
// holds the lock, and Kafka removes a member that sends no heartbeat for [sessionTime].
//
// A holder that was suspended and continues later cannot know in time that it is no longer
// a member. So a new holder fences the former one. All holders write with a producer id of
// one transactional id, also named [kafka.Names.LockName], whose epoch rises with each
// holder. The new holder commits an empty transaction over all partitions, whose control
// records carry its epoch to each partition. After that, everything that a former holder
// has sent is either in the log, where the new holder reads it, or is refused by the
// partition's leader.
type Lock struct {
	config   kafka.Config
	name     string
	self     LockHolder
	group    coordinator // used by AcquireLock, then by heartbeatLoop, then by Release
	producer producerID

	ctx     context.Context
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	member        string
	generation    int32
	lastHeartbeat atomic.Pointer[time.Time] // when the last successful heartbeat was sent
}

// LockHolder describes the command that holds a [Lock], for messages of other commands.
type LockHolder struct {
	Command string    `json:"command"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
}

// LockHeldError is the error of [AcquireLock] if another command holds the lock.
type LockHeldError struct{ LockHolder }

func (e *LockHeldError) Error() string {
	return fmt.Sprintf("%q is writing to these topics, process %d on %q, since %s: wait until it ends, or end it, and run this again",
		e.Command, e.PID, e.Host, e.Since.UTC().Format(time.RFC3339))
}

// ErrLockLost is the cause of the lock's context when the lock is lost.
var ErrLockLost = errors.New("the lock on the topics is lost: Kafka has received no heartbeat of this command in time, and another command may write now; run this again, it recognises what it has written")

// The time limits of a [Lock].
const (
	sessionTime   = 10 * time.Second // time without a heartbeat after which the lock is lost; brokers allow 6 s to 30 min
	heartbeatTime = time.Second      // between two heartbeats
	joinTime      = 2 * sessionTime  // for the answer to a join request, which waits for the other members
	acquireTime   = 2 * time.Minute  // to find the coordinators and acquire the lock
	releaseTime   = 3 * time.Second
)

// AcquireLock acquires the lock of a set of topics, which must exist. If another command
// holds the lock, the error is a [LockHeldError]. If a holder was killed, AcquireLock
// waits until its [sessionTime] has passed.
func AcquireLock(ctx context.Context, c kafka.Config, n kafka.Names, me LockHolder) (*Lock, error) {
	l := &Lock{config: c, name: n.LockName(), self: me}
	l.group = coordinator{brokers: kafka.AnyBroker{Config: c}, key: l.name, kind: groupKind}
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

// Context returns a context that ends when the lock is lost, with the reason as its cause,
// or when the context given to [AcquireLock] ends.
func (l *Lock) Context() context.Context { return l.ctx }

// Release releases the lock. Producers that use it must be closed before.
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
	if time.Since(*l.lastHeartbeat.Load()) > sessionTime { // this process was suspended
		l.cancel(ErrLockLost)
		return ErrLockLost
	}
	return nil
}

// memberMetadata is the metadata of a member of the group.
type memberMetadata struct {
	LockHolder
	Holds bool `json:"holds"` // the member already holds the lock
}

// assignment is the same for every member of the group.
type assignment struct {
	Member string `json:"member"` // the member that holds the lock
	LockHolder
}

// join joins the group, or joins it again, and returns nil if this member holds the lock.
// Otherwise it leaves the group and returns a [LockHeldError].
func (l *Lock) join(ctx context.Context, holds bool) error {
	mine, err := json.Marshal(memberMetadata{l.self, holds})
	if err != nil {
		return err
	}
	for {
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
		case code == kafkago.UnknownMemberId && !holds && l.member != "": // this process was suspended since the last answer
			l.member = ""
			continue
		case code != 0:
			return fmt.Errorf("joining the group %s: %w", l.name, code)
		}
		l.member, l.generation = joined.MemberID, joined.GenerationID
		asked := time.Now() // Kafka counts the session from here; the join before may have waited a whole session for a holder that was killed
		granted, again, err := l.sync(ctx, joined)
		switch {
		case err != nil:
			return err
		case again: // other members joined
			continue
		case granted.Member != l.member:
			l.leave(ctx)
			return &LockHeldError{granted.LockHolder}
		}
		l.lastHeartbeat.Store(&asked)
		return nil
	}
}

// lockProtocol is the group's protocol and protocol type.
const lockProtocol = "tollbridge-lock"

// sync returns the holder of the lock. The group's leader decides: the holder is the
// member that already holds the lock, or else the leader itself.
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
		return granted, false, fmt.Errorf("the group %s seems to belong to another program: expected an assignment in JSON, got %.100q: %w", l.name, r.Assignments, err)
	}
	return granted, false, nil
}

// heartbeatLoop sends heartbeats until the lock is released or lost.
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
		case err == nil && code == kafkago.RebalanceInProgress: // another command has joined to learn who holds the lock
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

// leave leaves the group, which frees the lock at once.
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

// fence makes every partition refuse requests of former holders, and gets the producer id.
func (l *Lock) fence(ctx context.Context, n kafka.Names) error {
	c := coordinator{brokers: kafka.AnyBroker{Config: l.config}, key: l.name, kind: transactionKind}
	defer c.close()
	m, err := c.brokers.Metadata(ctx, n.All())
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
		err = fmt.Errorf("requesting the producer id of the transactional id %s: %w", l.name, code)
	}
	if err != nil {
		return err
	}
	add.ProducerID, add.ProducerEpoch = id.ProducerID, id.ProducerEpoch
	_, code, err = callCoordinator(ctx, &c, joinTime, firstError, add)
	end := &endtxn.Request{TransactionalID: l.name, ProducerID: id.ProducerID, ProducerEpoch: id.ProducerEpoch, Committed: true}
	// The first answer says that the commit has begun. The second request is answered
	// "concurrent transactions" until all control records are written.
	for range 2 {
		if err == nil && code == 0 {
			_, code, err = callCoordinator(ctx, &c, kafka.RequestTimeout, func(r *endtxn.Response) int16 { return r.ErrorCode }, end)
		}
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("fencing former producers with the transactional id %s: %w", l.name, code)
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

// firstError returns the error code of the first partition that failed. Kafka does not
// attempt the others then.
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

// operationNotAttempted is Kafka's error code for the partitions of a request that were
// not attempted because another one failed.
const operationNotAttempted kafkago.Error = 55

// The kinds of [coordinator].
const (
	groupKind       = 0
	transactionKind = 1
)

// coordinator is a connection to the coordinator of a group or a transactional id. One
// goroutine at a time may use it. The caller must close it.
type coordinator struct {
	brokers kafka.AnyBroker
	key     string
	kind    int8
	conn    *kafka.Conn
}

// callCoordinator finds the coordinator and sends it a request, again while the answer is a
// retriable error. It returns the answer and its error code, which the function code
// reads, or an error if ctx is done first.
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
		var refused kafkago.Error // the error code of the broker that was asked for the coordinator
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

// coordinatorRetriable reports whether an error code of a coordinator, or of the search for
// it, is temporary.
func coordinatorRetriable(code kafkago.Error) bool {
	switch code {
	case kafkago.GroupLoadInProgress, kafkago.GroupCoordinatorNotAvailable, kafkago.NotCoordinatorForGroup, kafkago.ConcurrentTransactions:
		return true
	}
	return false
}

// coordinatorRetryInterval is the time between two attempts to call a coordinator.
const coordinatorRetryInterval = 50 * time.Millisecond

// String names the coordinator, and what an operator can do if there is none.
func (c *coordinator) String() string {
	if c.kind == transactionKind {
		return "the coordinator of the transactional id " + c.key + " (with fewer than 3 brokers, Kafka needs transaction.state.log.replication.factor and transaction.state.log.min.isr set)"
	}
	return "the coordinator of the group " + c.key + " (with fewer than 3 brokers, Kafka needs offsets.topic.replication.factor set)"
}

// connect opens a connection to the coordinator if there is none.
func (c *coordinator) connect(ctx context.Context) error {
	if c.conn != nil && c.conn.Expired() {
		c.disconnect()
	}
	if c.conn != nil {
		return nil
	}
	m, err := c.brokers.RoundTrip(ctx, &findcoordinator.Request{Key: c.key, KeyType: c.kind})
	if err != nil {
		return err
	}
	r := m.(*findcoordinator.Response)
	if r.ErrorCode != 0 {
		return kafkago.Error(r.ErrorCode)
	}
	c.conn, err = c.brokers.Dial(ctx, net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))))
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
	c.brokers.Close()
}
