package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// streamName is the contract's, its subject is ours.
	streamName streams = "HOLDFAST"

	// One request reads ahead from few to many records, and about fetchBytes:
	// the broker cuts off a reader that has more than maxPending to come.
	fetchFew   = 8
	fetchMany  = 256
	fetchBytes = 16 << 20
	// fetchTime is how long one request waits for new records.
	fetchTime = 2 * time.Second
	// apiTime bounds every other request to the broker.
	apiTime = 5 * time.Second
)

// jetStream is a Log in a JetStream stream.
type jetStream struct {
	name   streams
	js     jetstream.JetStream
	stream jetstream.Stream
}

// openJetStream finds the feed's stream on a connection, which stays the
// caller's, or makes it with create. A stream whose configuration may discard,
// replace or delete records is refused.
func openJetStream(ctx context.Context, l *link, create bool) (*jetStream, error) {
	js, err := jetstream.New(l.conn, jetstream.WithDefaultTimeout(apiTime))
	if err != nil {
		return nil, fmt.Errorf("open the feed's stream: %w", err)
	}
	j := &jetStream{name: l.streams, js: js}
	j.stream, err = js.Stream(ctx, string(j.name))
	if errors.Is(err, jetstream.ErrStreamNotFound) && create {
		j.stream, err = createStream(ctx, js, l, func(replicas int) jetstream.StreamConfig { return streamConfig(j.name, replicas) })
	}
	if err != nil {
		return nil, fmt.Errorf("open the feed's stream %s: %w", j.name, j.gone(err))
	}
	have, want := j.stream.CachedInfo().Config, streamConfig(j.name, 1)
	if l.cluster {
		want.Replicas = have.Replicas // how many is the operator's to change
	}
	if differs := differences(&have, &want); len(differs) > 0 {
		return nil, fmt.Errorf("stream %s exists with a configuration under which records can be lost: %s; edit the stream, or remove it if it is not Holdfast's",
			j.name, strings.Join(differs, ", "))
	}
	return j, nil
}

// Append implements Log.
func (j *jetStream) Append(ctx context.Context, after uint64, record []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	// No Nats-Msg-Id: the broker would answer a record whose id it has seen
	// with the old one's number.
	ack, err := j.js.Publish(ctx, j.name.subject(), record,
		jetstream.WithExpectStream(string(j.name)), jetstream.WithExpectLastSequence(after))
	var api *jetstream.APIError
	switch {
	case err == nil && ack.Duplicate:
		return 0, fmt.Errorf("%w: it was answered as a duplicate of record %d", ErrRefused, ack.Sequence)
	case err == nil:
		return ack.Sequence, nil
	case wrongLast(err):
		return 0, fmt.Errorf("%w: %w", ErrConflict, err)
	case errors.As(err, &api), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrReconnectBufExceeded):
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return 0, err
}

// wrongLast tells whether the broker said that another message came before.
// One that keeps a stream on several servers has another code for it.
func wrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Get implements Log.
func (j *jetStream) Get(ctx context.Context, number uint64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	msg, err := j.stream.GetMsg(ctx, number)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, fmt.Errorf("record %d: %w", number, ErrNoRecord)
	case err != nil:
		return nil, j.gone(err)
	case msg.Sequence != number:
		return nil, fmt.Errorf("the broker gave record %d instead of %d", msg.Sequence, number)
	}
	return msg.Data, nil
}

// Last implements Log.
func (j *jetStream) Last(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	info, err := j.stream.Info(ctx)
	if err != nil {
		return 0, j.gone(err)
	}
	return info.State.LastSeq, nil
}

// gone makes a break of the answer that the stream is no more.
func (j *jetStream) gone(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return breakAt(0, ErrRolled, "the broker has no stream %s any more: bring it back from a backup; to begin a new one, see Head", j.name)
	}
	return err
}

// Read implements Log. It holds the broker to the count of the records: a
// record that the broker has no more is an error, and so is one that it counts
// and does not give. A consumer that passed one over proves nothing yet: what
// it sent may have come too late for the request, on a slow machine. Then that
// record is asked for by its number, and a new consumer goes on behind it.
func (j *jetStream) Read(ctx context.Context, after uint64, fn func(number uint64, record []byte) error) error {
	for ctx.Err() == nil {
		next, err := j.consume(ctx, after, fn)
		if !errors.Is(err, errPassed) {
			return err
		}
		b, err := j.Get(ctx, next+1)
		switch {
		case errors.Is(err, ErrNoRecord):
			return breakAt(next, ErrGap, "the broker has later records, and not the next one")
		case err != nil:
			return err
		}
		if err := fn(next+1, b); err != nil {
			return err
		}
		after = next + 1
	}
	return ctx.Err()
}

// errPassed: a consumer did not give the next record.
var errPassed = errors.New("a record was passed over")

// consume reads from one consumer until something ends it, and tells the last
// record that was read.
func (j *jetStream) consume(ctx context.Context, after uint64, fn func(number uint64, record []byte) error) (uint64, error) {
	consumer, err := j.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 10 * fetchTime,
	})
	if err != nil {
		return after, j.gone(fmt.Errorf("read the feed's stream: %w", err))
	}
	defer func() {
		// The broker drops it by itself where this can not be said.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTime)
		defer cancel()
		_ = j.stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)
	}()
	r := reader{consumer: consumer, after: after, ahead: fetchFew, fn: fn}
	for ctx.Err() == nil {
		before := r.after
		if err := r.fetch(ctx); err != nil {
			return r.after, err
		}
		if r.after != before {
			continue
		}
		last, err := j.Last(ctx)
		if err != nil {
			return r.after, err
		}
		if last < r.after {
			return r.after, rolled(last, r.after)
		}
		// Twice silent: the first time, it may just have come.
		if last > r.after {
			if err := r.fetch(ctx); err != nil {
				return r.after, err
			}
			if r.after == before {
				return r.after, errPassed
			}
		}
	}
	return r.after, ctx.Err()
}

// reader reads a stream from one consumer.
type reader struct {
	consumer jetstream.Consumer
	after    uint64 // the last record that was read
	ahead    int    // records of the next request
	fn       func(number uint64, record []byte) error
}

// fetch reads what is there, or comes in a while.
func (r *reader) fetch(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	batch, err := r.consumer.Fetch(r.ahead, jetstream.FetchContext(bounded))
	if err != nil {
		return fmt.Errorf("read the feed's stream: %w", err)
	}
	largest := 0
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read the feed's stream: %w", err)
		}
		if meta.Sequence.Stream != r.after+1 {
			return errPassed
		}
		if err := r.fn(r.after+1, msg.Data()); err != nil {
			return err
		}
		r.after++
		largest = max(largest, len(msg.Data()))
	}
	if largest > 0 {
		r.ahead = min(max(fetchBytes/largest, fetchFew), fetchMany)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("read the feed's stream: %w", err)
	}
	return nil
}

// Close implements Log; the connection is the caller's.
func (j *jetStream) Close() error { return nil }
