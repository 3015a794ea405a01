package feed

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-authz/holdfast/cache"
)

// model is the naive twin: what was revoked and not lifted, by record.
type model struct {
	live map[cache.Ref]string
}

// TestModel lets two replicas write, lift, stop and start in any order; both
// must end with what the model has.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := &Memory{}
		m := model{live: make(map[cache.Ref]string)}
		replicas := [2]*replica{}
		up := func(i int) *replica {
			if replicas[i] == nil {
				replicas[i] = start(t, Config{Log: log, MaxAge: time.Minute}).synced(t)
			}
			return replicas[i]
		}
		who := rapid.IntRange(0, 1)
		sid := rapid.IntRange(0, 4)
		rt.Repeat(map[string]func(*rapid.T){
			"revoke": func(rt *rapid.T) {
				r, n := up(who.Draw(rt, "who")), rapid.IntRange(1, 3).Draw(rt, "events")
				var events []cache.Event
				for range n {
					events = append(events, revoke(fmt.Sprint("s", sid.Draw(rt, "sid"))))
				}
				number, _, err := r.Append(t.Context(), events...)
				if err != nil {
					rt.Fatal(err)
				}
				for place, e := range events {
					m.live[cache.Ref{Number: number, Place: uint32(place)}] = e.Value
				}
			},
			"lift": func(rt *rapid.T) {
				r := up(who.Draw(rt, "who"))
				ref := cache.Ref{Number: rapid.Uint64Range(1, 12).Draw(rt, "number")}
				value, ok := m.live[ref]
				if !ok {
					value = fmt.Sprint("s", sid.Draw(rt, "sid"))
				}
				if _, _, err := r.Append(t.Context(), lift(value, ref)); err != nil {
					rt.Fatal(err)
				}
				delete(m.live, ref)
			},
			"restart": func(rt *rapid.T) {
				if i := who.Draw(rt, "who"); replicas[i] != nil {
					replicas[i].stop()
					replicas[i] = nil
				}
			},
			"": func(rt *rapid.T) {
				for _, r := range replicas {
					if r != nil {
						m.check(rt, t, log, r)
					}
				}
			},
		})
		for i := range replicas {
			m.check(rt, t, log, up(i))
			replicas[i].stop()
		}
	})
}

func (m *model) check(rt *rapid.T, t *testing.T, log *Memory, r *replica) {
	last, err := log.Last(t.Context())
	if err != nil {
		rt.Fatal(err)
	}
	r.await(t, "everything", func(s Status) bool { return s.Number >= last })
	live := make(map[cache.Ref]bool)
	for n := range 5 {
		value := fmt.Sprint("s", n)
		for _, ref := range r.index.Refs(revoke(value).Key) {
			live[ref] = true
			if m.live[ref] != value {
				rt.Errorf("%v is revoked by %v, the model has %q", value, ref, m.live[ref])
			}
		}
	}
	if len(live) != len(m.live) || r.index.Count(cache.Session) != int64(len(live)) {
		rt.Errorf("%d revocations (counted %d), the model has %d", len(live), r.index.Count(cache.Session), len(m.live))
	}
}
