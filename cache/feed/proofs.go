package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAhead is the longest that a proof may be worth to remember.
	maxAhead = time.Hour
	// spreadQueue is how many proofs may wait to be told to the others.
	spreadQueue = 16 << 10
	// What the library keeps of the others' messages until they are taken.
	pendingMessages = 16 << 10
	pendingBytes    = 16 << 20
	// longRetry bounds the pause before a connection is asked for again.
	longRetry = time.Second
)

// ProofsConfig is what Proofs needs.
type ProofsConfig struct {
	Broker Broker // the caller closes it, after Run has ended
	Key    []byte // the feed's, KeySize bytes

	// Seen is called for each proof that another replica used, by the
	// goroutine of Run. It is not called for those that were spread here.
	Seen func(key [16]byte, until time.Time)

	// Window is the longest that a proof can be used: Claim refuses one that
	// ends later. 0: Claim is not used, and no stream is made for it.
	Window time.Duration
	// Claims is how many are remembered at once by the broker, at about 600
	// bytes of its memory and 200 of its disk; default 200 000. When they are,
	// further ones get ErrFull.
	Claims int

	Logger *slog.Logger // nil: silent
}

// Proofs tells replicas of the proofs that others of them have used. Its
// methods may be called from any goroutine, Run once.
type Proofs struct {
	cfg    ProofsConfig
	sender [senderSize]byte
	spread []byte // key of the batches' MAC
	names  []byte // key of the claims' names
	margin time.Duration
	queue  chan spent

	turn chan struct{} // holds one token: the right to open the claims' stream
	made atomic.Bool   // it was there once: it is not made again
	open atomic.Pointer[opened]

	listening atomic.Bool
	stats     struct{ spread, received, dropped, refused, claims, errors atomic.Uint64 }
}

// ProofsStats counts since the start.
type ProofsStats struct {
	Spread    uint64 // proofs told to the others
	Received  uint64 // proofs the others told
	Dropped   uint64 // proofs that were not told, or not heard: too many at once, or too late
	Refused   uint64 // batches that were forged, altered or malformed, and proofs with an absurd end
	Claims    uint64 // calls of Claim
	Errors    uint64 // calls of Claim that ended in an error
	Listening bool   // the others' proofs are being heard
}

// NewProofs checks the configuration; it does not touch the broker.
func NewProofs(cfg ProofsConfig) (*Proofs, error) {
	switch {
	case cfg.Broker == nil, cfg.Seen == nil:
		return nil, errors.New("proofs: Broker and Seen are needed")
	case len(cfg.Key) != KeySize:
		return nil, fmt.Errorf("proofs: the key has %d bytes, not %d", len(cfg.Key), KeySize)
	case cfg.Window < 0 || cfg.Window > maxAhead:
		return nil, fmt.Errorf("proofs: the window %v is not from 0 to %v", cfg.Window, maxAhead)
	case cfg.Claims < 0:
		return nil, fmt.Errorf("proofs: the number of claims %d is negative", cfg.Claims)
	}
	if cfg.Claims == 0 {
		cfg.Claims = defaultClaims
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proofs{
		cfg: cfg, spread: derive(cfg.Key, spreadLabel), names: derive(cfg.Key, claimLabel), margin: claimMargin,
		queue: make(chan spent, spreadQueue), turn: make(chan struct{}, 1),
	}
	rand.Read(p.sender[:])
	return p, nil
}

// Stats tells what was counted.
func (p *Proofs) Stats() ProofsStats {
	return ProofsStats{
		Spread: p.stats.spread.Load(), Received: p.stats.received.Load(), Dropped: p.stats.dropped.Load(),
		Refused: p.stats.refused.Load(), Claims: p.stats.claims.Load(), Errors: p.stats.errors.Load(),
		Listening: p.listening.Load(),
	}
}

// Spread tells the other replicas, soon, that a proof was used. It never waits
// and gives no promise: what can not be told is counted in Stats.
func (p *Proofs) Spread(key [16]byte, until time.Time) {
	s := spent{key: key, until: until.Add(time.Second - 1).Unix()}
	select {
	case p.queue <- s:
	default:
		p.stats.dropped.Add(1)
	}
}

// Run tells the others and hears them until ctx ends, which is no error, or
// the broker is closed.
func (p *Proofs) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var both sync.WaitGroup
	both.Go(func() { p.tell(ctx, cancel) })
	others := &ear{
		broker: p.cfg.Broker, subject: streams.spread, what: "their proofs", opened: p.find,
		hears: p.listening.Store, dropped: func(n uint64) { p.stats.dropped.Add(n) }, take: p.take, log: p.cfg.Logger,
	}
	both.Go(func() { others.run(ctx, cancel) })
	both.Wait()
	if err := context.Cause(ctx); errors.Is(err, ErrClosed) {
		return fmt.Errorf("spread proofs: %w", err)
	}
	return nil
}

// tell publishes what was put into the queue, and all at once what waits there.
func (p *Proofs) tell(ctx context.Context, cancel context.CancelCauseFunc) {
	batch := make([]spent, 0, maxBatch)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-p.queue:
			batch = append(batch[:0], s)
		}
		batch = p.gather(batch)
		pause := firstPause
		for {
			batch = p.live(batch)
			if len(batch) == 0 {
				break
			}
			err := p.publish(ctx, batch)
			if err == nil {
				p.stats.spread.Add(uint64(len(batch)))
				break
			}
			if !again(ctx, cancel, err, &pause) {
				return
			}
		}
	}
}

func (p *Proofs) gather(batch []spent) []spent {
	for len(batch) < maxBatch {
		select {
		case s := <-p.queue:
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

// live keeps of a batch what is worth to be told.
func (p *Proofs) live(batch []spent) []spent {
	now, kept := time.Now(), batch[:0]
	for _, s := range batch {
		if s.sane(now) {
			kept = append(kept, s)
		}
	}
	p.stats.dropped.Add(uint64(len(batch) - len(kept)))
	return kept
}

func (p *Proofs) publish(ctx context.Context, batch []spent) error {
	l, err := p.cfg.Broker.link(ctx)
	if err != nil {
		return err
	}
	return l.conn.Publish(l.streams.spread(), sealBatch(p.spread, p.sender, batch))
}

// find opens the stream of claims on a new connection. Not at the first claim,
// which has no time for it.
func (p *Proofs) find(ctx context.Context, l *link) {
	if p.cfg.Window == 0 {
		return
	}
	if _, err := p.opened(ctx, l); err != nil {
		p.cfg.Logger.Warn("proofs can not be claimed", "error", err)
	}
}

// take passes on what another replica told.
func (p *Proofs) take(b []byte) {
	sender, proofs, err := openBatch(p.spread, b)
	if err != nil {
		p.stats.refused.Add(1)
		return
	}
	if sender == p.sender {
		return
	}
	now := time.Now()
	for i := range proofs {
		s := &proofs[i]
		switch {
		case s.sane(now):
			p.stats.received.Add(1)
			p.cfg.Seen(s.key, time.Unix(s.until, 0))
		case s.until > now.Unix():
			p.stats.refused.Add(1)
		default: // it came too late to matter
			p.stats.dropped.Add(1)
		}
	}
}
