package observe

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// Checks counts decisions and how long they took. A check costs two map
// lookups and three atomic adds: there are no locks, and label values are put
// together only when the metrics are read. Every label comes from a closed
// list or from the configuration, so that no client can make a new series.
type Checks struct {
	table atomic.Pointer[checkTable]
	grow  sync.Mutex // writers of table

	buckets [buckets + 1]atomic.Uint64 // the last one is above all bounds
	nanos   atomic.Uint64              // of all durations
}

// The bounds of check_duration_seconds are powers of two of a nanosecond: from
// about a microsecond to about a second.
const (
	firstBucket = 10
	buckets     = 21
)

// checkTable finds the counters of a class and a route. It is immutable but
// for the blocks, which are made when a pair is first seen.
type checkTable struct {
	classes, routes map[string]int
	names           [2][]string // of classes and routes by their index; 0 is none
	blocks          []*atomic.Pointer[checkBlock]
}

// checkBlock holds a class's and route's counters, by what enforce says,
// whether that was enforced, and the reason.
type checkBlock [verdicts][2][reasons]atomic.Uint64

const verdicts = int(reason.Unable) + 1

// reasons is more than there are reasons; a test holds it to that.
const reasons = 64

// NewChecks makes the counters for the classes and routes of a configuration.
func NewChecks(classes, routes []string) *Checks {
	c := &Checks{}
	c.Configure(classes, routes)
	return c
}

// Configure makes room for the classes and routes of another configuration.
// What has been counted stays, as counters must never fall.
func (c *Checks) Configure(classes, routes []string) {
	c.grow.Lock()
	defer c.grow.Unlock()
	next := &checkTable{}
	old := c.table.Load()
	if old == nil {
		old = &checkTable{}
	}
	next.classes, next.names[0] = index(old.names[0], classes)
	next.routes, next.names[1] = index(old.names[1], routes)
	next.blocks = make([]*atomic.Pointer[checkBlock], len(next.names[0])*len(next.names[1]))
	for class := range next.names[0] {
		for route := range next.names[1] {
			at := new(atomic.Pointer[checkBlock])
			if class < len(old.names[0]) && route < len(old.names[1]) {
				at = old.blocks[class*len(old.names[1])+route]
			}
			next.blocks[class*len(next.names[1])+route] = at
		}
	}
	c.table.Store(next)
}

// index numbers the names, the old ones as before; "" has the number 0.
func index(old, more []string) (map[string]int, []string) {
	byName, names := make(map[string]int), []string{}
	for _, list := range [][]string{{""}, old, more} {
		for _, name := range list {
			if _, ok := byName[name]; !ok {
				byName[name] = len(names)
				names = append(names, name)
			}
		}
	}
	return byName, names
}

// Count counts one decision.
func (c *Checks) Count(d *extauthz.Decision, took time.Duration) {
	t := c.table.Load()
	enforced := 0
	if d.Enforced {
		enforced = 1
	}
	verdict := min(int(d.Verdict), verdicts-1)
	why := d.Reason
	if why >= reasons {
		why = reason.None
	}
	t.block(d.Class, d.Route)[verdict][enforced][why].Add(1)

	nanos := uint64(max(took, 0))
	c.buckets[bucket(nanos)].Add(1)
	c.nanos.Add(nanos)
}

// block finds a pair's counters; a name that no configuration has counts as none.
func (t *checkTable) block(class, route string) *checkBlock {
	at := t.blocks[t.classes[class]*len(t.names[1])+t.routes[route]]
	if b := at.Load(); b != nil {
		return b
	}
	at.CompareAndSwap(nil, new(checkBlock))
	return at.Load()
}

// bucket is the first whose bound 2^(firstBucket+i) is not below nanos.
func bucket(nanos uint64) int {
	if nanos == 0 {
		return 0
	}
	return min(max(bits.Len64(nanos-1)-firstBucket, 0), buckets)
}

var _ prometheus.Collector = (*checksCollector)(nil)

// checksCollector turns the counters into metrics when they are asked for.
type checksCollector struct {
	checks          *Checks
	total, duration *prometheus.Desc
}

func newChecksCollector(c *Checks) *checksCollector {
	return &checksCollector{
		checks: c,
		total: prometheus.NewDesc(name("checks_total"), "Checks by what enforce says of them, why, and whether it was enforced.",
			[]string{"decision", "reason", "mode", "class", "route"}, nil),
		duration: prometheus.NewDesc(name("check_duration_seconds"), "Time from a request's message to its answer.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *checksCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.total
	out <- c.duration
}

// Collect implements prometheus.Collector.
func (c *checksCollector) Collect(out chan<- prometheus.Metric) {
	t := c.checks.table.Load()
	for class, className := range t.names[0] {
		for route, routeName := range t.names[1] {
			if block := t.blocks[class*len(t.names[1])+route].Load(); block != nil {
				c.collectBlock(out, block, className, routeName)
			}
		}
	}
	bounds, seen := make(map[float64]uint64, buckets), uint64(0)
	for i := range buckets {
		seen += c.checks.buckets[i].Load()
		bounds[float64(uint64(1)<<(firstBucket+i))/1e9] = seen
	}
	seen += c.checks.buckets[buckets].Load()
	out <- prometheus.MustNewConstHistogram(c.duration, seen, float64(c.checks.nanos.Load())/1e9, bounds)
}

func (c *checksCollector) collectBlock(out chan<- prometheus.Metric, block *checkBlock, class, route string) {
	modes := [2]string{"monitor", "enforce"}
	for verdict := range block {
		for enforced := range modes {
			// Two numbers may bear one name: None is reported as internal.
			byName := make(map[string]uint64)
			for r := range reasons {
				if n := block[verdict][enforced][r].Load(); n > 0 {
					byName[reason.Reason(r).String()] += n
				}
			}
			for name, n := range byName {
				out <- prometheus.MustNewConstMetric(c.total, prometheus.CounterValue, float64(n),
					reason.Verdict(verdict).String(), name, modes[enforced], class, route)
			}
		}
	}
}
