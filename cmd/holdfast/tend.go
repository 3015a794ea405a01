package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// What goes on beside the checks for as long as the process runs.

// announce tells Envoy's health checks when the feed was first read, to its end
// or to where it breaks. Staleness is no matter of health: every class has its
// own answer to it, and one that denies must not be kept from a proxy that
// fails open.
func (p *process) announce(ctx context.Context) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for p.sync.Health(time.Now(), p.config.Feed.MaxAge) == cache.NotReady {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		}
	}
	p.check.SetServing(true)
	p.log.Info("serving", "feed", p.sync.Health(time.Now(), p.config.Feed.MaxAge).String(), "records", p.sync.Number(), "took", time.Since(p.started).Round(time.Millisecond))
	return nil
}

// hangups opens the decision log anew at each SIGHUP, for whoever rotates it.
func (p *process) hangups(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			p.decisions.Reopen()
			p.log.Info("decision log opened anew; the configuration stays as it is until a restart")
		}
	}
}

// sweepEvery is how often expired revocations give back their memory.
const sweepEvery = 30 * time.Second

// sweep forgets what has expired, by a clock that no jump moves forward: the
// time that has really passed since the start.
func (p *process) sweep(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			steady := p.started.Add(now.Sub(p.started)) // the monotonic difference
			if now.Round(0).Before(steady) {
				steady = now
			}
			p.snapshot.sweeping(steady)
			p.index.Expire(steady)
			p.evidence.Expire(steady)
			p.replicas.Expire(steady)
		}
	}
}
