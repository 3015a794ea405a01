package observe

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cache/memo"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// scrape gives the metrics as Prometheus reads them, without comments.
func scrape(t *testing.T, m *Metrics) (lines []string) {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(rec.Body)
	if err != nil || rec.Code != 200 {
		t.Fatalf("%d %s: %v", rec.Code, body, err)
	}
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// full is a Metrics that has everything to observe.
func full() *Metrics {
	sync := &cache.Sync{}
	sync.Advance(7, time.Now())
	index := cache.NewIndex()
	return New(Config{
		Version: "v1", Revision: "abc", Classes: []string{"browser"}, Routes: []string{"payments"}, Issuers: []string{"https://idp.example"},
		Index: index, Sync: sync,
		Feed: func() feed.Status { return feed.Status{Connected: true, Breaks: 2} },
		Keys: func() []jwks.Status {
			return []jwks.Status{{Issuer: "https://idp.example", OK: 3, Failed: 1, LastSuccess: time.UnixMilli(1_700_000_000_500)}}
		},
		Caches:  map[string]func() memo.Stats{"tokens": func() memo.Stats { return memo.Stats{Hits: 5, Misses: 4, Expired: 1, Entries: 2, Bytes: 1024} }},
		Dropped: func() uint64 { return 9 },
		Proofs:  func() feed.ProofsStats { return feed.ProofsStats{Spread: 1, Received: 2, Dropped: 3} },
		Saved:   func() time.Time { return time.UnixMilli(1_700_000_000_250) },
	})
}

// TestMetricNames holds the names and labels to contract §7; the
// histograms' buckets are left out.
func TestMetricNames(t *testing.T) {
	m := full()
	m.Checks.Count(&extauthz.Decision{Reason: reason.OK, Verdict: reason.Allow, Enforced: true, Class: "browser", Route: "payments"}, time.Millisecond)
	m.Verified("https://idp.example", "ES256", true)
	m.Event("admin", "session", "stored")
	m.Propagated(time.Millisecond)
	var got []string
	value := regexp.MustCompile(` [^ ]+$`)
	for _, line := range scrape(t, m) {
		line = value.ReplaceAllString(line, "")
		if strings.HasPrefix(line, "go_") || strings.HasPrefix(line, "process_") || strings.HasPrefix(line, "promhttp_") || strings.Contains(line, "_bucket{") {
			continue
		}
		got = append(got, line)
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`goversion="[^"]*"`).ReplaceAllString(strings.Join(got, "\n")+"\n", `goversion="go"`)
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestMetricValues(t *testing.T) {
	m := full()
	m.Reloaded(false)
	m.Propagated(-time.Second)
	m.Verified("https://idp.example", "Ed25519", false)
	lines := scrape(t, m)
	for _, want := range []string{
		"holdfast_feed_sequence 7", "holdfast_feed_connected 1", "holdfast_feed_gaps_total 2", "holdfast_decision_log_dropped_total 9", "holdfast_snapshot_last_success_timestamp_seconds 1.70000000025e+09",
		"holdfast_config_last_reload_successful 0", "holdfast_revocation_propagation_seconds_sum 0",
		`holdfast_cache_requests_total{cache="tokens",result="hit"} 5`, `holdfast_cache_entries{cache="tokens"} 2`, `holdfast_cache_bytes{cache="tokens"} 1024`,
		`holdfast_jwks_last_success_timestamp_seconds{issuer="https://idp.example"} 1.7000000005e+09`,
		`holdfast_jwks_refreshes_total{issuer="https://idp.example",result="failed"} 1`, `holdfast_revocations{kind="token_hash"} 0`,
		`holdfast_verifications_total{alg="EdDSA",issuer="https://idp.example",result="invalid"} 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no line %s", want)
		}
	}
	if err := m.Register(newChecksCollector(m.Checks)); err == nil {
		t.Error("a collector was registered twice")
	}
	// Nothing to observe is no fault.
	for _, line := range scrape(t, New(Config{})) {
		if strings.HasPrefix(line, "holdfast_feed") || strings.HasPrefix(line, "holdfast_jwks") {
			t.Errorf("made up: %s", line)
		}
	}
}

// TestSeriesAreBounded throws what clients send at the labels: DS07.
func TestSeriesAreBounded(t *testing.T) {
	m := full()
	fill := func(n int) int {
		for i := range n {
			evil := fmt.Sprint("evil", i, "\n\"")
			m.Checks.Count(&extauthz.Decision{Reason: reason.Reason(i), Verdict: reason.Verdict(i % 3), Class: evil, Route: evil}, time.Duration(i))
			m.Verified(evil, evil, i%2 == 0)
			m.Event("admin", evil, evil)
		}
		return len(scrape(t, m))
	}
	fill(1000)
	if before, after := fill(1000), fill(10_000); before != after {
		t.Errorf("%d series became %d", before, after)
	}
	for _, line := range scrape(t, m) {
		if strings.Contains(line, "evil") {
			t.Errorf("a client's text is a label: %s", line)
		}
	}
}

// TestReasonsFit: the array has a place for every reason.
func TestReasonsFit(t *testing.T) {
	for _, r := range reason.All() {
		if r >= reasons {
			t.Fatalf("%v is number %d: make reasons larger", r, r)
		}
	}
}

// TestChecksModel counts at random, over changes of the configuration, beside
// a plain map.
func TestChecksModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	m := full()
	want := make(map[string]int)
	classes, routes := []string{"", "browser"}, []string{"", "payments"}
	all := reason.All()
	for step := range 5000 {
		if step%1000 == 999 {
			classes, routes = append(classes, fmt.Sprint("c", step)), append(routes, fmt.Sprint("r", step))
			m.Configure(classes[2:], routes[1:], nil) // browser is gone, and its counts stay
		}
		d := &extauthz.Decision{
			Reason: all[rnd.IntN(len(all))], Verdict: reason.Verdict(rnd.IntN(3)), Enforced: rnd.IntN(2) == 0,
			Class: classes[rnd.IntN(len(classes))], Route: routes[rnd.IntN(len(routes))],
		}
		m.Checks.Count(d, time.Duration(rnd.Int64N(int64(time.Second))))
		mode := map[bool]string{true: "enforce", false: "monitor"}[d.Enforced]
		want[fmt.Sprintf(`holdfast_checks_total{class="%s",decision="%v",mode="%s",reason="%v",route="%s"}`, d.Class, d.Verdict, mode, d.Reason, d.Route)]++
	}
	got := make(map[string]int)
	for _, line := range scrape(t, m) {
		if strings.HasPrefix(line, "holdfast_checks_total") {
			i := strings.LastIndexByte(line, ' ')
			var n float64
			if _, err := fmt.Sscan(line[i+1:], &n); err != nil {
				t.Fatal(err)
			}
			got[line[:i]] = int(n)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if lines := scrape(t, m); !slices.Contains(lines, "holdfast_check_duration_seconds_count 5000") {
		t.Error("not every duration is counted")
	}
}

func TestBucket(t *testing.T) {
	for nanos, want := range map[uint64]int{0: 0, 1: 0, 1024: 0, 1025: 1, 2048: 1, 2049: 2, 1 << 30: 20, 1<<30 + 1: 21, 1 << 62: 21} {
		if got := bucket(nanos); got != want {
			t.Errorf("%d ns is in bucket %d, not %d", nanos, got, want)
		}
	}
}

// TestCountWhileConfigured loses nothing when the configuration changes under
// checks that run.
func TestCountWhileConfigured(t *testing.T) {
	m := full()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				m.Checks.Count(&extauthz.Decision{Reason: reason.OK, Class: fmt.Sprint("c", i%50), Route: fmt.Sprint("r", worker)}, 0)
			}
		})
	}
	var classes []string
	for i := range 50 {
		classes = append(classes, fmt.Sprint("c", i))
		m.Configure(classes, []string{"r0", "r1"}, nil)
	}
	wg.Wait()
	total := 0
	for _, line := range scrape(t, m) {
		if strings.HasPrefix(line, "holdfast_checks_total") {
			var n int
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
				t.Fatal(err)
			}
			total += n
		}
	}
	if total != 8000 {
		t.Errorf("%d of 8000 checks are counted", total)
	}
}

func TestCountAllocs(t *testing.T) {
	m := full()
	d := &extauthz.Decision{Reason: reason.OK, Verdict: reason.Allow, Enforced: true, Class: "browser", Route: "payments"}
	m.Checks.Count(d, 0)
	if n := testing.AllocsPerRun(100, func() { m.Checks.Count(d, time.Microsecond) }); n != 0 {
		t.Errorf("%v allocations a check", n)
	}
}

func BenchmarkCount(b *testing.B) {
	m := full()
	b.RunParallel(func(pb *testing.PB) {
		d := &extauthz.Decision{Reason: reason.OK, Verdict: reason.Allow, Enforced: true, Class: "browser", Route: "payments"}
		for pb.Next() {
			m.Checks.Count(d, 3*time.Microsecond)
		}
	})
}
