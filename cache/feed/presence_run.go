package feed

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Run tells the others and hears them until ctx ends, which is no error, or
// the broker is closed. At the end it says goodbye, so that nobody waits for
// this replica.
func (p *Presence) Run(ctx context.Context) error {
	if p.alone {
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	others := &ear{
		broker: p.cfg.Broker, subject: streams.replicas, what: "their notices",
		hears: p.listening, dropped: func(n uint64) { p.dropped.Add(n); p.ask() }, take: p.take, log: p.cfg.Logger,
	}
	var both sync.WaitGroup
	both.Go(func() { p.tell(ctx) })
	both.Go(func() { others.run(ctx, cancel) })
	both.Wait()
	if err := context.Cause(ctx); errors.Is(err, ErrClosed) {
		return fmt.Errorf("tell the other replicas: %w", err)
	}
	p.farewell()
	return nil
}

// tell sends a notice every second, and whenever there is news.
func (p *Presence) tell(ctx context.Context) {
	every := time.NewTicker(noticeEvery)
	defer every.Stop()
	for {
		var counts bool
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			counts = true
		case <-p.news:
		}
		if !p.say(ctx, counts) || !sleep(ctx, noticePause) {
			continue // it is said again in a second
		}
	}
}

// say sends one notice, or with counts as many as they need.
func (p *Presence) say(ctx context.Context, counts bool) bool {
	var untold []count
	if all := p.owed.Load() && time.Since(p.all) > noticeEvery; all || counts {
		if all {
			p.owed.Store(false)
			p.all = time.Now()
		}
		untold = p.tally.untold(all, p.there)
	}
	for {
		part := untold[:min(len(untold), maxCounts)]
		if err := p.publish(ctx, part, 0); err != nil {
			p.tally.again(untold)
			return false
		}
		if untold = untold[len(part):]; len(untold) == 0 {
			return true
		}
		if !sleep(ctx, countPause) {
			p.tally.again(untold)
			return false
		}
	}
}

// there tells whether a replica is present, and so tells its counts itself.
func (p *Presence) there(replica [senderSize]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.others[replica]
	return h != nil && h.present(time.Now())
}

func (p *Presence) publish(ctx context.Context, counts []count, flags byte) error {
	l, err := p.cfg.Broker.link(ctx)
	if err != nil {
		return err
	}
	asks := p.asking.Swap(false)
	if asks {
		flags |= flagAsks
	}
	if p.cfg.Ready() {
		flags |= flagReady
	}
	p.next++
	n := &notice{
		sender: p.self, flags: flags, number: p.next, applied: p.cfg.Applied(),
		host: p.cfg.Host, release: p.cfg.Version, counts: counts,
	}
	if err := l.conn.Publish(l.streams.replicas(), sealNotice(p.key, n)); err != nil {
		if asks {
			p.asking.Store(true)
		}
		return err
	}
	return nil
}

// farewell tells what is left to tell, and that this replica goes.
func (p *Presence) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	p.say(ctx, true)
	l, err := p.cfg.Broker.link(ctx)
	if err == nil {
		err = p.publish(ctx, nil, flagGoodbye)
	}
	if err == nil {
		err = l.conn.FlushWithContext(ctx)
	}
	if err != nil {
		p.cfg.Logger.Debug("the other replicas were not told that this one goes", "error", err)
	}
}

// listening begins and ends with a connection. Whoever begins to listen asks
// the others to say who they are; that he hears them is known when that very
// notice comes back to him.
func (p *Presence) listening(yes bool) {
	p.mu.Lock()
	p.since = time.Time{}
	p.mu.Unlock()
	p.wake()
	if yes {
		p.ask()
	}
}

// echoed notes that a notice of our own came back.
func (p *Presence) echoed(now time.Time) {
	p.mu.Lock()
	first := p.since.IsZero()
	if p.echo = now; first {
		p.since = now
	}
	p.mu.Unlock()
	if first {
		p.wake()
	}
}

func (p *Presence) ask() {
	p.asking.Store(true)
	p.soon()
}

// take notes what another replica said.
func (p *Presence) take(b []byte) {
	n, err := openNotice(p.key, b)
	if err != nil {
		p.refused.Add(1)
		return
	}
	if n.sender == p.self {
		p.echoed(time.Now())
		return
	}
	news, missed := p.hear(n, time.Now())
	if !news {
		return
	}
	p.tally.merge(n.counts)
	p.wake()
	if n.flags&flagAsks != 0 {
		p.owed.Store(true)
		p.soon()
	}
	if missed {
		p.ask()
	}
}

// hear enters a notice into the table. One that is older than the last of its
// sender is no news.
func (p *Presence) hear(n *notice, now time.Time) (news, missed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.others[n.sender]
	if h == nil {
		if len(p.others) >= maxReplicas && !p.forget(now) {
			p.dropped.Add(1)
			return false, false
		}
		h = &heard{Replica: Replica{ID: hex.EncodeToString(n.sender[:])}}
		p.others[n.sender] = h
		p.cfg.Logger.Info("another replica is there", "replica", h.ID, "host", n.host, "version", n.release, "applied", n.applied)
	} else if n.number <= h.number {
		return false, false
	}
	missed = h.number != 0 && n.number != h.number+1
	h.number, h.gone = n.number, n.flags&flagGoodbye != 0
	h.Host, h.Version, h.Ready, h.Heard = n.host, n.release, n.flags&flagReady != 0, now
	h.Applied, h.Lag = max(h.Applied, n.applied), 0
	if ours := p.cfg.Applied(); ours > h.Applied {
		h.Lag = ours - h.Applied
	}
	if h.gone {
		p.cfg.Logger.Info("another replica has gone", "replica", h.ID, "host", h.Host)
	}
	return true, missed
}

// forget makes room: those go that are not present.
func (p *Presence) forget(now time.Time) (room bool) {
	for id, h := range p.others {
		if !h.present(now) {
			delete(p.others, id)
			room = true
		}
	}
	return room
}
