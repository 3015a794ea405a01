package feed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// ear hears what other replicas say over a subject that keeps nothing, from
// one connection to the broker after the other.
type ear struct {
	broker  Broker
	subject func(streams) string
	what    string                             // is heard; for the log
	opened  func(ctx context.Context, l *link) // on a new connection, before anything is heard; nil: nothing to do
	hears   func(yes bool)                     // from now on everything is heard, or nothing
	dropped func(n uint64)                     // so many messages were not taken in time
	take    func(message []byte)               // is given each message, one after the other
	log     *slog.Logger
}

// run hears until ctx ends, or the broker is closed, which it tells cancel.
func (e *ear) run(ctx context.Context, cancel context.CancelCauseFunc) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := e.listen(ctx)
		if time.Since(began) > 2*longRetry {
			pause = firstPause
		}
		if ctx.Err() == nil {
			e.log.Debug("the other replicas are not heard", "what", e.what, "error", err)
		}
		if !again(ctx, cancel, err, &pause) {
			return
		}
	}
}

// listen hears the others for as long as one connection holds.
func (e *ear) listen(ctx context.Context) error {
	if c, ok := e.broker.(*Cluster); ok {
		// Not by and by: whoever is ready to decide should hear the others.
		if err := c.await(ctx); err != nil {
			return err
		}
	}
	l, err := e.broker.link(ctx)
	if err != nil {
		return err
	}
	bounded, end := l.bound(ctx)
	defer end()
	if e.opened != nil {
		e.opened(bounded, l)
	}
	sub, err := l.conn.SubscribeSync(e.subject(l.streams))
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	if err := sub.SetPendingLimits(pendingMessages, pendingBytes); err != nil {
		return err
	}
	flush, cancel := context.WithTimeout(bounded, apiTime)
	err = l.conn.FlushWithContext(flush)
	cancel()
	if err != nil {
		return err
	}
	e.hears(true)
	defer e.hears(false)
	missed := 0
	for {
		msg, err := sub.NextMsgWithContext(bounded)
		if errors.Is(err, nats.ErrSlowConsumer) {
			total, _ := sub.Dropped()
			e.dropped(uint64(total - missed))
			missed = total
			continue
		}
		if err != nil {
			return lostCause(ctx, bounded, err)
		}
		e.take(msg.Data)
	}
}

// again waits before another attempt; false ends them.
func again(ctx context.Context, cancel context.CancelCauseFunc, err error, pause *time.Duration) bool {
	if errors.Is(err, ErrClosed) {
		cancel(err)
		return false
	}
	if !sleep(ctx, *pause) {
		return false
	}
	*pause = min(2**pause, longRetry)
	return true
}
