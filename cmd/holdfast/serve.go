package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/apikeys"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cache/introspect"
	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cache/memo"
	"github.com/holdfast-authz/holdfast/cache/statuslist"
	"github.com/holdfast-authz/holdfast/cmd/internal/admin"
	"github.com/holdfast-authz/holdfast/cmd/internal/config"
	"github.com/holdfast-authz/holdfast/cmd/internal/observe"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/server"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

func newServeCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "run the server",
		Long: `Runs the ext_authz server, the admin API and the embedded revocation feed.
Until the feed has been read to its end, checks are answered with 503 (not_ready).
SIGTERM drains: no new checks are taken, those in flight finish, exit 0.
An invalid configuration ends with 3 and every error of the file.`,
		Example: "  holdfast serve -c holdfast.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return &exitError{exitUsage, errors.New("serve needs a configuration: holdfast serve -c FILE (holdfast config init prints one to start from)")}
			}
			c, err := loadConfig(path, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			for _, advice := range c.Advice() {
				log.Warn("configuration", "advice", advice.Summary())
			}
			return serve(cmd.Context(), c, log)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	return cmd
}

// process is everything that runs. Whoever reads it from top to bottom has
// seen how the parts are wired; they know each other only through what stands
// here.
type process struct {
	config *config.Config
	log    *slog.Logger

	index    *cache.Index
	sync     *cache.Sync
	evidence *cache.Evidence
	clock    *extauthz.Clock

	keys      *jwks.Store
	good, bad *memo.Memo
	replay    *cache.Replay
	proofs    *feed.Proofs
	replicas  *feed.Presence
	nonces    proof.Nonces
	apiKeys   *apikeys.Store     // nil: there are none
	asked     *introspect.Client // nil: nobody is
	lists     *statuslist.Store
	events    events
	feedKey   []byte
	feed      *feed.Feed
	broker    feed.Broker
	head      *feed.Head
	snapshot  snapshot
	decisions *observe.DecisionLog
	metrics   *observe.Metrics
	check     *server.Server
	admin     *admin.Server

	ahead   atomic.Bool // it was said that a record is dated far ahead
	started time.Time   // with the monotonic clock
}

// serve builds the process, runs it until ctx ends, and drains it.
func serve(ctx context.Context, c *config.Config, log *slog.Logger) error {
	tuneMemory()
	p := &process{
		config: c, log: log, started: time.Now(),
		sync: &cache.Sync{}, evidence: cache.NewEvidence(), clock: &extauthz.Clock{},
	}
	defer p.close()
	for _, build := range []func() error{p.openFeed, p.openKeys, p.openObserve, p.openCheck, p.openAdmin, p.openEvents} {
		if err := build(); err != nil {
			return err
		}
	}
	return p.run(ctx)
}

// maxAhead is how far ahead of the clock a record's time is still believed.
const maxAhead = 24 * time.Hour

// apply takes one record of the feed: the only writer of what checks read.
func (p *process) apply(number uint64, at time.Time, events []cache.Event) {
	p.freeze()
	if health := p.sync.Health(time.Now(), p.config.Feed.MaxAge); health == cache.NotReady {
		// Replay: the log proves that this time has passed, whatever our clock
		// says. Further than a day ahead it rather proves that some replica's
		// clock was wrong, and would deny everything at each start.
		p.believe(number, at)
	} else if len(events) > 0 {
		p.metrics.Propagated(time.Since(at))
	}
	p.index.Apply(number, at, events)
	if len(events) > 0 {
		p.replicas.Advance()
	}
	p.admin.Applied(number, at, events)
	p.snapshot.note(number, at, events)
}

func (p *process) openObserve() (err error) {
	c := p.config
	if p.good, err = memo.New(memo.Config{TTL: c.Cache.Tokens.TTL, MaxMB: c.Cache.Tokens.MaxMB}); err != nil {
		return fmt.Errorf("cache.tokens: %w", err)
	}
	if p.bad, err = memo.New(memo.Config{TTL: c.Cache.Negative.TTL, MaxMB: c.Cache.Negative.MaxMB}); err != nil {
		return fmt.Errorf("cache.negative: %w", err)
	}
	p.decisions, err = observe.NewDecisionLog(observe.DecisionLogConfig{
		Stream: c.DecisionLog.Destination.Stream, File: c.DecisionLog.Destination.File,
		SampleAllow: c.DecisionLog.SampleAllow, Logger: p.log,
	})
	if err != nil {
		return err
	}
	o := observe.Config{
		Version: version, Index: p.index, Sync: p.sync, Feed: p.feed.Status, Keys: p.keys.Status,
		Caches:  map[string]func() memo.Stats{"tokens": p.good.Stats, "negative": p.bad.Stats},
		Dropped: p.decisions.Dropped,
		Server:  func() server.Stats { return p.check.Stats() },
		Proofs:  func() feed.ProofsStats { return p.proofs.Stats() },
		Saved:   p.snapshot.last,
	}
	for i := range c.Classes {
		o.Classes = append(o.Classes, c.Classes[i].Name)
	}
	for i := range c.Routes {
		o.Routes = append(o.Routes, c.Routes[i].Name)
	}
	for i := range c.Issuers {
		o.Issuers = append(o.Issuers, c.Issuers[i].Name())
	}
	p.metrics = observe.New(o)
	return nil
}

func (p *process) openCheck() error {
	policy, err := policyOf(p.config)
	if err != nil {
		return err
	}
	slots := server.NewSlots(p.config.Limits.MaxVerifications)
	issuers, _ := issuersOf(p.config)
	verify := token.Config{
		Issuers: issuers, Keys: p.keys, Good: p.good, Bad: p.bad,
		MaxBytes: p.config.Limits.MaxTokenBytes, Classify: policy.Classify,
		Acquire: slots.Acquire, Release: slots.Release, Verified: p.metrics.Verified,
	}
	if p.apiKeys != nil {
		verify.APIKeys = p.apiKey
	}
	if p.asked != nil {
		verify.Opaque = p.opaque()
	}
	tokens, err := token.New(verify)
	if err != nil {
		return err
	}
	dpop, err := proof.NewDPoP(proof.DPoPConfig{
		MaxAge: p.config.DPoP.MaxAge, FutureSkew: p.config.DPoP.FutureSkew, Origins: p.config.DPoP.Origins,
		NonceRequired: p.config.DPoP.Nonce == "required", Acquire: slots.Acquire, Release: slots.Release,
	})
	if err != nil {
		return fmt.Errorf("dpop: %w", err)
	}
	if err := p.openProofs(dpop.Window()); err != nil {
		return fmt.Errorf("dpop.replay: %w", err)
	}
	checker := &extauthz.Checker{
		Policy: policy, Tokens: tokens, Index: p.index, Sync: p.sync, Clock: p.clock,
		Certificates: proof.NewCertificates(), Beginnings: &cache.Beginnings{},
		DPoP: dpop, Nonces: &p.nonces, Replay: p.replay, Spread: p.proofs.Spread, Listed: p.lists.Valid,
	}
	if p.config.DPoP.Replay == "strict" {
		checker.Claim = p.claim
	}
	decider := server.NewDecider(checker, p.observe)
	tls, err := checkTLS(p.config.Listen.Check.TLS)
	if err != nil {
		return err
	}
	p.check, err = server.New(server.Config{
		Check: decider.Check, Overloaded: decider.Overloaded, TLS: tls,
		OnPanic: func(value any, stack []byte) []byte {
			p.log.Error("panic in a check", "panic", fmt.Sprint(value), "stack", string(stack))
			return decider.Fault()
		},
	})
	return err
}

// observe sees every decision after its answer is written.
func (p *process) observe(req *extauthz.Request, d *extauthz.Decision, took time.Duration) {
	p.metrics.Checks.Count(d, took)
	if d.Proof != reason.None {
		p.metrics.Proved(d.Proof)
	}
	if d.Revoked != (cache.Hit{}) && d.Enforced {
		p.evidence.Add(d.Revoked, time.Now())
		p.replicas.Denied(d.Revoked)
	}
	p.decisions.Record(req, d, took)
}

func (p *process) openAdmin() (err error) {
	c := p.config
	cfg := admin.Config{
		Address: c.Listen.Admin.Address, Version: version,
		Index: p.index, Enforced: p.replicas.Enforced, Sync: p.sync,
		MaxAge: c.Feed.MaxAge, Retention: c.Feed.Retention,
		Append: p.feed.AppendUnless, Confirm: p.feed.Confirm, WallClock: p.clock.Read, Events: p.feed.Events,
		Reached: p.replicas.Reached, Replicas: p.replicas.Replicas,
		Feed: p.feed.Status, Keys: p.keys.Status, RefreshKeys: p.keys.Refresh,
		Checks: p.readiness, Metrics: p.metrics.Handler(), Logger: p.log,
		Count: func(kind, result string) { p.metrics.Event("admin", kind, result) },
	}
	if path := c.Listen.Admin.TokenFile; path != "" {
		if cfg.Token, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("read the admin token: %w", err)
		}
	}
	if tls := c.Listen.Admin.TLS; tls != nil {
		cfg.MutualTLS = tls.ClientCAFile != ""
	}
	for i := range c.Issuers {
		cfg.Issuers = append(cfg.Issuers, admin.Issuer{
			Name: c.Issuers[i].Name(), MaxLife: longestLife(c, c.Issuers[i].Name()), ClockSkew: c.Issuers[i].ClockSkew,
		})
	}
	if c.APIKeys != nil {
		cfg.Issuers = append(cfg.Issuers, admin.Issuer{Name: token.APIKeys, Lasting: true})
	}
	p.admin, err = admin.New(cfg)
	return err
}

// readiness are the lines of /readyz beside the feed's own.
func (p *process) readiness() []admin.Check {
	ok, why := p.keys.Ready()
	checks := []admin.Check{{Name: "keys", OK: ok, Detail: why}}
	checks = append(checks, p.sources()...)
	checks = append(checks, p.snapshot.check())
	if p.check.Draining() {
		checks = append(checks, admin.Check{Name: "draining", OK: false, Detail: "the process is being stopped"})
	}
	if behind := p.clock.Behind(time.Now()); behind > time.Second {
		checks = append(checks, admin.Check{Name: "clock", OK: true, Advisory: true,
			Detail: fmt.Sprintf("the wall clock is %v behind; what had expired by then stays expired", behind.Round(time.Second))})
	}
	return checks
}

// run starts every part and ends them in order: health first, then the checks
// in flight, then the API, then what they stand on.
func (p *process) run(ctx context.Context) error {
	checkListener, err := server.Listen(p.config.Listen.Check.Address)
	if err != nil {
		return fmt.Errorf("listen.check: %w", err)
	}
	adminListener, err := p.listenAdmin()
	if err != nil {
		return errors.Join(fmt.Errorf("listen.admin: %w", err), checkListener.Close())
	}
	eventsListener, err := p.listenEvents()
	if err != nil {
		return errors.Join(fmt.Errorf("listen.events: %w", err), checkListener.Close(), adminListener.Close())
	}
	p.log.Info("listening", "listener", "check", "address", addressOf(checkListener))
	p.log.Info("listening", "listener", "admin", "address", addressOf(adminListener))
	if eventsListener != nil {
		p.log.Info("listening", "listener", "events", "address", addressOf(eventsListener))
	}
	if e, ok := p.broker.(*feed.Embedded); ok && e.Addr() != nil {
		p.log.Info("listening", "listener", "feed", "address", e.Addr().String())
	}

	// What the listeners stand on outlives them.
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBase()
	below, base := errgroup.WithContext(base)
	below.Go(func() error { return p.feed.Run(base) })
	below.Go(func() error { return p.proofs.Run(base) })
	below.Go(func() error { return p.replicas.Run(base) })
	below.Go(func() error { return p.keys.Run(base) })
	below.Go(func() error { return p.lists.Run(base) })
	below.Go(func() error { return p.events.keys.Run(base) })
	for _, poll := range p.events.pollers {
		below.Go(func() error { return poll.Run(base) })
	}
	if p.apiKeys != nil {
		below.Go(func() error { return p.apiKeys.Run(base) })
	}
	below.Go(func() error { return p.decisions.Run(base) })
	below.Go(func() error { return p.sweep(base) })
	below.Go(func() error { return p.keepSnapshot(base) })
	below.Go(func() error { return p.announce(base) })
	below.Go(func() error { return p.hangups(base) })
	below.Go(func() error { return p.rotateNonces(base) })

	front, frontCtx := errgroup.WithContext(ctx)
	front.Go(func() error { return p.check.Serve(checkListener) })
	front.Go(func() error { return p.admin.Serve(adminListener) })
	if eventsListener != nil {
		front.Go(func() error { return p.serveEvents(eventsListener) })
	}
	front.Go(func() error {
		select {
		case <-frontCtx.Done():
		case <-base.Done(): // something below has failed: nothing can be decided any more
		}
		return p.drain()
	})
	err = front.Wait()
	stopBase()
	err = errors.Join(err, below.Wait())
	p.lastSnapshot()
	return err
}

// drain tells Envoy first, lets the checks in flight finish, and then ends the
// API.
func (p *process) drain() error {
	timeout := p.config.Drain.Timeout
	p.log.Info("draining", "timeout", timeout)
	p.check.Drain(timeout)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := errors.Join(p.events.server.Shutdown(ctx), p.admin.Shutdown(ctx))
	p.log.Info("stopped")
	return err
}

// close gives back what was opened, in the opposite order.
func (p *process) close() {
	if p.asked != nil {
		p.asked.Close()
	}
	if p.head != nil {
		_ = p.head.Close()
	}
	if p.broker != nil {
		if err := p.broker.Close(); err != nil {
			p.log.Error("close the feed", "error", err)
		}
	}
	for _, m := range []*memo.Memo{p.good, p.bad} {
		if m != nil {
			m.Close()
		}
	}
}
