package cache

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sampleEvents() []Event {
	e := revocation(User, "alice", t0, t0.Add(time.Hour))
	e.Reason, e.Actor = "left the company\n", "admin"
	e.Request, e.Content = Key{1}, Key{2}
	return []Event{e, lifting(e, Ref{Number: 3, Place: 4}), complexEvent(Member{User, "a"}, Member{Tenant, "t"}, Member{Device, "d"})}
}

func TestEventsRoundTrip(t *testing.T) {
	want := sampleEvents()
	got, err := DecodeEvents(EncodeEvents(nil, want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}

// TestEventTimesRoundUp: towards denial.
func TestEventTimesRoundUp(t *testing.T) {
	e := revocation(User, "alice", t0.Add(time.Nanosecond), t0.Add(time.Hour+time.Nanosecond))
	got, err := DecodeEvents(EncodeEvents(nil, []Event{e}))
	if err != nil {
		t.Fatal(err)
	}
	if !got[0].Before.Equal(t0.Add(time.Second)) || !got[0].Until.Equal(t0.Add(time.Hour+time.Second)) {
		t.Errorf("before %v, until %v", got[0].Before, got[0].Until)
	}
}

func TestDecodeEventsRefuses(t *testing.T) {
	good := EncodeEvents(nil, sampleEvents())
	for n := range good {
		if _, err := DecodeEvents(good[:n]); err == nil {
			t.Errorf("took the first %d of %d bytes", n, len(good))
		}
	}
	if _, err := DecodeEvents(append(good[:len(good):len(good)], 0)); err == nil {
		t.Error("took a byte too many")
	}
	for name, change := range map[string]func(*Event){
		"unknown operation":       func(e *Event) { e.Op = 9 },
		"no kind":                 func(e *Event) { e.Kinds = 0 },
		"two kinds, one value":    func(e *Event) { e.Kinds = User | Session },
		"kind of a newer version": func(e *Event) { e.Kinds = 1 << 14 },
		"key of another value":    func(e *Event) { e.Key = KeyOf(User, idp, "mallory") },
		"empty value":             func(e *Event) { e.Value, e.Key = "", KeyOf(User, idp, "") },
		"no end":                  func(e *Event) { e.Until = time.Time{} },
		"revocation that lifts":   func(e *Event) { e.Lifts = Ref{Number: 1} },
		"lift of nothing":         func(e *Event) { e.Op = OpLift },
	} {
		t.Run(name, func(t *testing.T) {
			events := sampleEvents()[:1]
			change(&events[0])
			if _, err := DecodeEvents(EncodeEvents(nil, events)); err == nil {
				t.Error("decoded")
			}
		})
	}
}

// FuzzEventCodec: what decodes is valid, and encodes to something that
// decodes to the same.
func FuzzEventCodec(f *testing.F) {
	f.Add(EncodeEvents(nil, sampleEvents()))
	f.Add(EncodeEvents(nil, nil))
	f.Fuzz(func(t *testing.T, src []byte) {
		events, err := DecodeEvents(src)
		if err != nil {
			return
		}
		again, err := DecodeEvents(EncodeEvents(nil, events))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestSyncHealth(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		do   func(*Sync)
		want Health
	}{
		"nothing yet":               {func(*Sync) {}, NotReady},
		"replay alone is no life":   {func(s *Sync) { s.Advance(9, time.Time{}) }, NotReady},
		"live":                      {func(s *Sync) { s.Advance(9, now) }, Fresh},
		"at the limit":              {func(s *Sync) { s.Advance(9, now.Add(-10*time.Second)) }, Fresh},
		"silent":                    {func(s *Sync) { s.Advance(9, now.Add(-10*time.Second-1)) }, Stale},
		"broken":                    {func(s *Sync) { s.Advance(9, now); s.Break("gap") }, Stale},
		"broken before the first":   {func(s *Sync) { s.Break("rolled back") }, Stale},
		"mended":                    {func(s *Sync) { s.Break("gap"); s.Mend(); s.Advance(9, now) }, Fresh},
		"replay keeps what is live": {func(s *Sync) { s.Advance(9, now); s.Advance(10, time.Time{}) }, Fresh},
	} {
		t.Run(name, func(t *testing.T) {
			var s Sync
			tc.do(&s)
			if got := s.Health(now, 10*time.Second); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
