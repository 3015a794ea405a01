package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz/server"
)

// stateCollector reads the state of the process when somebody asks for it.
type stateCollector struct {
	c Config

	requests, entries, bytes   *prometheus.Desc
	revocations                *prometheus.Desc
	age, sequence              *prometheus.Desc
	connected, gaps            *prometheus.Desc
	refreshes, refreshed, drop *prometheus.Desc
	started, handled, saved    *prometheus.Desc
	shared                     *prometheus.Desc
}

func newStateCollector(c Config) *stateCollector {
	desc := func(short, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name(short), help, labels, nil)
	}
	grpc := func(short, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("grpc_server_"+short, help, append([]string{"grpc_type", "grpc_service", "grpc_method"}, more...), nil)
	}
	return &stateCollector{
		c:           c,
		started:     grpc("started_total", "RPCs started on the server."),
		handled:     grpc("handled_total", "RPCs completed on the server; a denial is an OK RPC.", "grpc_code"),
		requests:    desc("cache_requests_total", "Lookups in a cache: hit, miss, or expired (found, and too old).", "cache", "result"),
		entries:     desc("cache_entries", "Entries of a cache.", "cache"),
		bytes:       desc("cache_bytes", "Memory that a cache has taken for its entries.", "cache"),
		revocations: desc("revocations", "Revocations in force.", "kind"),
		age:         desc("feed_age_seconds", "Time since the feed was last known to be live; absent before the first sync."),
		sequence:    desc("feed_sequence", "Number of the last record applied."),
		connected:   desc("feed_connected", "1 where the feed's log can be reached."),
		gaps:        desc("feed_gaps_total", "How often records were missing or did not fit."),
		refreshes:   desc("jwks_refreshes_total", "Refreshes of an issuer's keys.", "issuer", "result"),
		refreshed:   desc("jwks_last_success_timestamp_seconds", "When an issuer's keys were last confirmed.", "issuer"),
		saved:       desc("snapshot_last_success_timestamp_seconds", "When the index was last written to its snapshot; absent where it never was."),
		shared:      desc("dpop_proofs_shared_total", "Used DPoP proofs that replicas tell each other: told, heard, or lost on the way.", "direction"),
		drop:        desc("decision_log_dropped_total", "Decision records that were dropped: the destination was too slow, or failed."),
	}
}

// Describe implements prometheus.Collector.
func (s *stateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.requests, s.entries, s.bytes, s.revocations, s.age, s.sequence,
		s.connected, s.gaps, s.refreshes, s.refreshed, s.drop, s.started, s.handled, s.saved, s.shared} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *stateCollector) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for cacheName, stats := range s.c.Caches {
		st := stats()
		count(s.requests, st.Hits, cacheName, "hit")
		count(s.requests, st.Misses, cacheName, "miss")
		count(s.requests, st.Expired, cacheName, "expired")
		gauge(s.entries, float64(st.Entries), cacheName)
		gauge(s.bytes, float64(st.Bytes), cacheName)
	}
	if s.c.Index != nil {
		for _, kind := range cache.AllKinds() {
			gauge(s.revocations, float64(s.c.Index.Count(kind)), kind.String())
		}
	}
	if s.c.Sync != nil {
		gauge(s.sequence, float64(s.c.Sync.Number()))
		if age, ok := s.c.Sync.Age(time.Now()); ok {
			gauge(s.age, age.Seconds())
		}
	}
	if s.c.Feed != nil {
		st := s.c.Feed()
		connected := 0.0
		if st.Connected {
			connected = 1
		}
		gauge(s.connected, connected)
		count(s.gaps, st.Breaks)
	}
	if s.c.Keys != nil {
		for _, k := range s.c.Keys() {
			count(s.refreshes, k.OK, k.Issuer, "ok")
			count(s.refreshes, k.Failed, k.Issuer, "failed")
			if !k.LastSuccess.IsZero() {
				gauge(s.refreshed, float64(k.LastSuccess.UnixMilli())/1e3, k.Issuer)
			}
		}
	}
	if s.c.Saved != nil {
		if at := s.c.Saved(); !at.IsZero() {
			gauge(s.saved, float64(at.UnixMilli())/1e3)
		}
	}
	if s.c.Proofs != nil {
		st := s.c.Proofs()
		count(s.shared, st.Spread, "told")
		count(s.shared, st.Received, "heard")
		count(s.shared, st.Dropped, "lost")
	}
	if s.c.Dropped != nil {
		count(s.drop, s.c.Dropped())
	}
	if s.c.Server != nil {
		st := s.c.Server()
		labels := []string{"unary", server.ServiceName, "Check"}
		asked := st.Checks + st.Overloaded
		count(s.handled, asked-min(asked, uint64(max(0, st.InFlight))), append(labels[:3:3], "OK")...)
		count(s.started, asked, labels...)
	}
}
