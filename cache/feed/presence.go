package feed

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

const (
	// noticeEvery is how often a replica says that it is there.
	noticeEvery = time.Second
	// noticePause is the least time between two notices of a replica: what it
	// applies meanwhile is said at once.
	noticePause = 2 * time.Millisecond
	// countPause is that between two notices full of counts.
	countPause = 10 * time.Millisecond
	// heardLimit is when a replica that says nothing is not counted any more.
	heardLimit = 10 * time.Second
	// answerTime is what the others have to answer whoever has just begun to
	// listen, before it believes that it knows them.
	answerTime = 250 * time.Millisecond
	// echoLimit is how old our own last notice may be that came back.
	echoLimit = 3 * noticeEvery
	// farewellTime bounds the last notice.
	farewellTime = 500 * time.Millisecond
)

// ErrUnheard: the other replicas are not heard, so that nobody knows how many
// there are, and how far.
var ErrUnheard = errors.New("the other replicas can not be heard")

// PresenceConfig is what Presence needs.
type PresenceConfig struct {
	Broker Broker // the caller closes it, after Run has ended
	Key    []byte // the feed's, KeySize bytes

	// Applied is the number of the last record that checks here go by.
	Applied func() uint64
	// Ready says that this replica decides: the feed was read to its end once.
	Ready func() bool
	// Evidence is what this replica has denied; the caller adds to it, and
	// says so with Denied.
	Evidence *cache.Evidence

	Host, Version string // for people; cut to 255 bytes

	Logger *slog.Logger // nil: silent
}

// Replica is one process that follows the feed.
type Replica struct {
	ID      string    // random, of this start of the process
	Host    string    // as it calls itself
	Version string    // of the program
	Self    bool      // it is the one that tells
	Ready   bool      // it has read the feed to its end; before, it lets nobody in
	Applied uint64    // the record that it has applied, when it was heard
	Lag     uint64    // how many fewer than we had applied at that moment
	Heard   time.Time // when it was heard last
}

// Name is how a person tells replicas of one host apart.
func (r *Replica) Name() string { return r.Host + "/" + r.ID[:min(len(r.ID), 8)] }

// Presence tells the other replicas who is here, what is applied here and what
// was denied here, and keeps what they tell. Nothing of that is in the log, and
// nothing that a check decides depends on it. Notices carry a MAC and a number
// that rises: whoever has the broker but not the key can hold them back or send
// old ones, so that a replica seems to be missing or behind; he can make none
// seem to have applied what it has not.
//
// Its methods may be called from any goroutine, Run once.
type Presence struct {
	cfg   PresenceConfig
	self  [senderSize]byte
	key   []byte
	alone bool // nobody else can be there
	tally *tally
	news  chan struct{} // something is to be said at once
	next  uint64        // number of the last notice; of the goroutine that tells
	all   time.Time     // when all counts were told last; of the same

	asking  atomic.Bool // ask the others for all their counts
	owed    atomic.Bool // one of them has asked for ours
	dropped atomic.Uint64
	refused atomic.Uint64

	mu      sync.Mutex
	others  map[[senderSize]byte]*heard
	since   time.Time     // everything is heard from then on; zero: nothing is
	echo    time.Time     // when our own last notice was heard
	changed chan struct{} // closed at every change of the above
}

// heard is what is known of another replica.
type heard struct {
	Replica
	number uint64 // of its last notice
	gone   bool   // it has said goodbye; kept so that old notices do not revive it
}

// NewPresence checks the configuration; it does not touch the broker.
func NewPresence(cfg PresenceConfig) (*Presence, error) {
	switch {
	case cfg.Broker == nil, cfg.Applied == nil, cfg.Ready == nil, cfg.Evidence == nil:
		return nil, errors.New("presence: Broker, Applied, Ready and Evidence are needed")
	case len(cfg.Key) != KeySize:
		return nil, fmt.Errorf("presence: the key has %d bytes, not %d", len(cfg.Key), KeySize)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Presence{
		cfg: cfg, key: derive(cfg.Key, noticeLabel), news: make(chan struct{}, 1),
		others: make(map[[senderSize]byte]*heard), changed: make(chan struct{}),
	}
	e, ok := cfg.Broker.(*Embedded)
	p.alone = ok && e.cfg.Listen == ""
	rand.Read(p.self[:])
	p.tally = newTally(p.self, cfg.Evidence)
	return p, nil
}

// Advance says that a record with events was applied here: the others hear it
// at once. It never waits.
func (p *Presence) Advance() {
	p.wake()
	p.soon()
}

// Denied says that the evidence of a revocation has grown. It never waits for
// the others, who hear of it within a second.
func (p *Presence) Denied(hit cache.Hit) {
	if !p.alone {
		p.tally.denied(hit)
	}
}

// Enforced is what all replicas together have denied by a revocation, as far
// as it is known here: of the others, up to a second ago.
func (p *Presence) Enforced(ref cache.Ref) cache.Enforced { return p.tally.sum(ref) }

// PresenceStats counts since the start.
type PresenceStats struct {
	Listening bool   // the others are being heard
	Dropped   uint64 // notices that were not taken: too many at once, or too many replicas
	Refused   uint64 // notices that were forged, altered or malformed
	Uncounted uint64 // times that a count did not fit: Enforced is then too small
}

// Stats tells what was counted.
func (p *Presence) Stats() PresenceStats {
	s := PresenceStats{Dropped: p.dropped.Load(), Refused: p.refused.Load()}
	p.tally.mu.Lock()
	s.Uncounted = p.tally.lost
	p.tally.mu.Unlock()
	p.mu.Lock()
	s.Listening = !p.since.IsZero()
	p.mu.Unlock()
	return s
}

// Expire forgets what was denied by revocations that ended before now.
func (p *Presence) Expire(now time.Time) { p.tally.expire(now.Unix()) }

// Replicas lists those that were heard in the last ten seconds, this one first.
func (p *Presence) Replicas() []Replica {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list(time.Now())
}

func (p *Presence) list(now time.Time) []Replica {
	all := []Replica{{
		ID: hex.EncodeToString(p.self[:]), Host: p.cfg.Host, Version: p.cfg.Version, Self: true,
		Ready: p.cfg.Ready(), Applied: p.cfg.Applied(), Heard: now,
	}}
	for _, h := range p.others {
		if h.present(now) {
			all = append(all, h.Replica)
		}
	}
	slices.SortFunc(all[1:], func(a, b Replica) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID)) })
	return all
}

func (h *heard) present(now time.Time) bool { return !h.gone && now.Sub(h.Heard) < heardLimit }

// Reached waits until every replica has applied a record, or ctx ends, and gives
// the replicas with what each has applied. One that is still reading the feed
// to its end is waited for, too: the record lies on its way. ErrUnheard where
// ctx ended before it could be known who they are.
func (p *Presence) Reached(ctx context.Context, number uint64) ([]Replica, error) {
	for {
		p.mu.Lock()
		now := time.Now()
		all, since, unheard, changed := p.list(now), p.since, p.deaf(now), p.changed
		p.mu.Unlock()
		// Others drop out by and by, which nothing announces.
		again := noticeEvery
		if left := answerTime - now.Sub(since); unheard && left > 0 {
			again = left
		}
		behind := slices.ContainsFunc(all, func(r Replica) bool { return r.Applied < number })
		if !behind && !unheard {
			return all, nil
		}
		for _, r := range all {
			if !r.Self {
				again = min(again, heardLimit-now.Sub(r.Heard))
			}
		}
		timer := time.NewTimer(again)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if unheard {
				return all, ErrUnheard
			}
			return all, nil
		}
		timer.Stop()
	}
}

// deaf tells whether others may be there that are not heard. Whoever does not
// even hear his own notices, for a connection that is dead or for a broker that
// does not let him, does not hear theirs.
func (p *Presence) deaf(now time.Time) bool {
	return !p.alone && (p.since.IsZero() || now.Sub(p.since) < answerTime || now.Sub(p.echo) > echoLimit)
}

func (p *Presence) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// soon has a notice sent at once.
func (p *Presence) soon() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}
