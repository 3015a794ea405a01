// Package observe is what an operator sees of the checks: metrics and the
// decision log. It is the only package that knows Prometheus; the others count
// with plain numbers, which are read here when somebody asks.
//
// Neither ever holds a credential. A label is one of a closed list or a name
// from the configuration; whatever else a client sent goes to the decision log
// at most, escaped, and identities only as keyed digests.
package observe

import (
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cache/memo"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/server"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// other stands for a label value that is in no list.
const other = "other"

// algorithms are those that a signature may be checked with (contract §2), and
// the word for the answers of an issuer that was asked.
var algorithms = []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", token.Introspection}

func name(short string) string { return "holdfast_" + short }

// Config names what is observed. Every func and pointer may be nil: its
// metrics are then left out.
type Config struct {
	Version, Revision string

	Classes, Routes, Issuers []string // of the configuration: the values of their labels

	Index   *cache.Index
	Sync    *cache.Sync
	Feed    func() feed.Status
	Keys    func() []jwks.Status
	Caches  map[string]func() memo.Stats // tokens, negative
	Dropped func() uint64                // by the decision log
	Proofs  func() feed.ProofsStats      // nil: not shown
	Saved   func() time.Time             // when the snapshot was last written; zero for never
	Server  func() server.Stats
}

// Metrics are the metrics of contract §7. Its methods may be called by any
// goroutine.
type Metrics struct {
	Checks *Checks

	issuers       atomic.Pointer[[]string]
	registry      *prometheus.Registry
	verifications *prometheus.CounterVec
	events        *prometheus.CounterVec
	proofs        *prometheus.CounterVec
	propagation   prometheus.Histogram
	reloaded      prometheus.Gauge
}

// New registers the metrics in a registry of their own.
func New(c Config) *Metrics {
	m := &Metrics{
		Checks: NewChecks(c.Classes, c.Routes), registry: prometheus.NewRegistry(),
		verifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("verifications_total"), Help: "Signatures checked.",
		}, []string{"issuer", "alg", "result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("revocation_events_total"), Help: "Revocations asked for, by who asked and what became of it.",
		}, []string{"source", "type", "result"}),
		proofs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("dpop_proofs_total"), Help: "DPoP proofs by what became of them: ok, or the reason they were refused for.",
		}, []string{"result"}),
		propagation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name("revocation_propagation_seconds"), Help: "From when a record was appended, by its appender's clock, until it was applied here.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("config_last_reload_successful"), Help: "1 where the configuration in force is the one in the file.",
		}),
	}
	m.issuers.Store(&c.Issuers)
	m.reloaded.Set(1)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: name("build_info"), Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": c.Version, "revision": c.Revision, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		newChecksCollector(m.Checks), newStateCollector(c), m.verifications, m.events, m.proofs, m.propagation, m.reloaded, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Configure takes the label values of another configuration.
func (m *Metrics) Configure(classes, routes, issuers []string) {
	m.Checks.Configure(classes, routes)
	m.issuers.Store(&issuers)
}

// Register adds the collectors of a library, such as grpc's own.
func (m *Metrics) Register(c prometheus.Collector) error { return m.registry.Register(c) }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Verified counts one signature check. It is not on the way of a cached token.
func (m *Metrics) Verified(issuer, alg string, ok bool) {
	result := "invalid"
	if ok {
		result = "ok"
	}
	if alg == "Ed25519" {
		alg = "EdDSA"
	}
	m.verifications.WithLabelValues(oneOf(*m.issuers.Load(), issuer), oneOf(algorithms, alg), result).Inc()
}

// Proved counts one DPoP proof.
func (m *Metrics) Proved(result reason.Reason) { m.proofs.WithLabelValues(result.String()).Inc() }

// Event counts one revocation that source asked for. kind is one of cache's,
// or "lift"; result one of stored, refused, not_durable, duplicate, unmatched.
func (m *Metrics) Event(source, kind, result string) {
	m.events.WithLabelValues(source, oneOf(eventTypes(), kind), oneOf(eventResults, result)).Inc()
}

var eventResults = []string{"stored", "refused", "not_durable", "duplicate", "unmatched"}

func eventTypes() []string {
	types := []string{"lift"}
	for _, kind := range cache.AllKinds() {
		types = append(types, kind.String())
	}
	return types
}

// Propagated notes how long a record took from its append until it was applied
// here. Two machines' clocks may differ: below zero counts as zero.
func (m *Metrics) Propagated(took time.Duration) { m.propagation.Observe(max(took, 0).Seconds()) }

// Reloaded notes how the last reload of the configuration ended.
func (m *Metrics) Reloaded(ok bool) {
	m.reloaded.Set(0)
	if ok {
		m.reloaded.Set(1)
	}
}

func oneOf(list []string, value string) string {
	if slices.Contains(list, value) {
		return value
	}
	return other
}
