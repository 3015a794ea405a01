package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// DefaultMaxAge is the contract's feed.max_age.
const DefaultMaxAge = 10 * time.Second

// Config is what a Feed needs.
type Config struct {
	Log  Log    // the caller closes it, after Run has ended
	Key  []byte // KeySize bytes, the same on every replica
	Head *Head  // nil: a log that was rolled back while this process was down is not noticed

	// MaxAge is when a replica that has heard nothing calls itself stale; a
	// fifth of it is the time between ticks. 0: DefaultMaxAge.
	MaxAge time.Duration

	// Apply is called once for each number, in order, by one goroutine. at is
	// the appender's clock. Genesis and ticks have no events.
	Apply func(number uint64, at time.Time, events []cache.Event)

	// Start is where a snapshot stands: its record and those before it are not
	// applied. The zero Start stands before the first record.
	Start Start
	// Again is called for the records from Start.Again up to the snapshot's, in
	// order, by the goroutine that applies and before it applies any.
	Again func(number uint64, at time.Time, events []cache.Event)

	Sync   *cache.Sync  // written by Run only
	Logger *slog.Logger // nil: silent
}

// Feed appends to a log and follows it. Its methods may be called from any
// goroutine, Run once.
type Feed struct {
	cfg   Config
	head  position      // highest seen before this process started
	turn  chan struct{} // holds one token: appends go one at a time
	mute  bool          // the head file's failure was said; of the goroutine that applies
	again uint64        // the next record for Again, 0 for none; of the same goroutine

	mu      sync.Mutex
	at      position      // applied
	acked   uint64        // highest number this feed was told to be durable
	caught  bool          // everything the log had when this read began is applied
	synced  bool          // caught, and an own record was applied, once
	broken  error         // a *Break, or a damaged head file
	cut     error         // why the log can not be reached
	own     sent          // the record being appended
	proof   time.Time     // when the newest own record that is applied was sent
	stop    func(error)   // ends the read that is going on
	changed chan struct{} // closed at every change of the above
	stats   Status
}

// sent is a record of our own on its way through the log.
type sent struct {
	hash [sha256.Size]byte
	when time.Time // with the monotonic clock
}

// Status is what Feed knows about itself.
type Status struct {
	Number    uint64        // of the last record applied
	Epoch     Epoch         // zero while nothing is applied
	Head      uint64        // highest record seen before this process started
	Last      uint64        // of the last record known to be in the log
	Synced    bool          // the feed was read to its end once
	Age       time.Duration // since the feed was last known to be live; meaningless before Synced
	Connected bool          // the log can be reached
	Broken    string        // why the feed can not be trusted, "" where it can
	LastTime  time.Time     // latest appender's clock in any record read, and Start.Time: a mark for the wall clock
	Bytes     uint64        // of the records applied since the start
	Breaks    uint64        // how often the feed broke since the start
	Conflicts uint64        // appends that another replica's record forestalled
}

// New checks the configuration; it does not touch the log.
func New(cfg Config) (*Feed, error) {
	switch {
	case cfg.Log == nil, cfg.Apply == nil, cfg.Sync == nil:
		return nil, errors.New("feed: Log, Apply and Sync are needed")
	case len(cfg.Key) != KeySize:
		return nil, fmt.Errorf("feed: the key has %d bytes, not %d", len(cfg.Key), KeySize)
	case cfg.Start.Again > cfg.Start.Position.Number, cfg.Start.Again > 0 && cfg.Again == nil:
		return nil, errors.New("feed: Start.Again is behind the snapshot, or nobody is there to be given it")
	case cfg.MaxAge < 0:
		return nil, fmt.Errorf("feed: MaxAge %v is negative", cfg.MaxAge)
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Key = bytes.Clone(cfg.Key)
	f := &Feed{cfg: cfg, turn: make(chan struct{}, 1), changed: make(chan struct{})}
	if cfg.Head != nil {
		head, err := cfg.Head.position()
		f.head, f.broken = head, err
		if err != nil {
			cfg.Sync.Break(err.Error())
		}
	}
	f.stats.Head = f.head.number
	f.at, f.again, f.stats.LastTime = positionOf(cfg.Start.Position), cfg.Start.Again, cfg.Start.Time
	cfg.Sync.Advance(f.at.number, time.Time{})
	return f, nil
}

// Status tells how far the feed is.
func (f *Feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Number, s.Epoch = f.at.number, f.at.epoch
	s.Last = max(s.Last, s.Number)
	s.Synced = f.synced
	s.Connected = f.stop != nil && f.cut == nil
	if age, ok := f.cfg.Sync.Age(time.Now()); ok {
		s.Age = age
	}
	if f.broken != nil {
		s.Broken = f.broken.Error()
	}
	return s
}

// Position is the place of the last record applied. While Apply is called it
// is that of the record before.
func (f *Feed) Position() cache.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cache.Position{Epoch: f.at.epoch, Number: f.at.number, Hash: f.at.hash}
}

// Events reads one record back and verifies it. ErrNoRecord where the number
// was not applied here, or its record holds no events.
func (f *Feed) Events(ctx context.Context, number uint64) (time.Time, []cache.Event, error) {
	f.mu.Lock()
	at := f.at
	f.mu.Unlock()
	if number == 0 || number > at.number {
		return time.Time{}, nil, fmt.Errorf("feed record %d: %w", number, ErrNoRecord)
	}
	b, err := f.cfg.Log.Get(ctx, number)
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("read feed record %d: %w", number, err)
	}
	r, err := parse(f.cfg.Key, number, b)
	switch {
	case err != nil:
		return time.Time{}, nil, err
	case r.epoch != at.epoch:
		return time.Time{}, nil, breakAt(number, ErrEpoch, "epoch %v, not %v", r.epoch, at.epoch)
	case r.number != number:
		return time.Time{}, nil, breakAt(number, ErrChain, "it was written as record %d", r.number)
	case r.kind != typeEvents:
		return time.Time{}, nil, fmt.Errorf("feed record %d is a %v: %w", number, r.kind, ErrNoRecord)
	}
	events, err := cache.DecodeEvents(r.payload)
	if err != nil {
		return time.Time{}, nil, breakAt(number, ErrForm, "%v", err)
	}
	return r.at, events, nil
}

// wake tells everybody who waits that something changed; the caller holds mu.
func (f *Feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait returns when done says so, looking at each change under the lock.
func (f *Feed) wait(ctx context.Context, done func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := done(), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
