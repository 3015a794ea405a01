package cache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestIndexList pages through a random index and compares with a plain list.
func TestIndexList(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	x, until := NewIndex(), time.Unix(2_000_000_000, 0)
	var want []Ref
	for number := uint64(1); number <= 300; number++ {
		var events []Event
		for place := range rnd.IntN(20) {
			kind := AllKinds()[rnd.IntN(len(AllKinds()))]
			value := fmt.Sprint(rnd.IntN(500))
			events = append(events, Event{Op: OpRevoke, Kinds: kind, Key: KeyOf(kind, "i", value), Before: until, Until: until})
			if kind&(Token|User) != 0 {
				want = append(want, Ref{Number: number, Place: uint32(place)})
			}
		}
		x.Apply(number, until, events)
	}
	for _, page := range []int{1, 7, 100, 10_000} {
		var got []Ref
		for after := (Ref{}); ; {
			refs := x.List(Token|User, after, page)
			if len(refs) == 0 {
				break
			}
			got = append(got, refs...)
			after = refs[len(refs)-1]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("pages of %d: (-want +got)\n%s", page, diff)
		}
	}
	if !slices.Equal(x.List(Token|User, Ref{}, 0), nil) {
		t.Error("a page of 0 holds something")
	}
}
