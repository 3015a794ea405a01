package server_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/server"
)

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := server.NewSlots(2)
		slots.Wait = 10 * time.Millisecond
		if !slots.Acquire() || !slots.Acquire() {
			t.Fatal("no slot of two")
		}
		began := time.Now()
		if slots.Acquire() {
			t.Error("a third slot of two")
		}
		if took := time.Since(began); took != slots.Wait {
			t.Errorf("it waited %v", took)
		}
		time.AfterFunc(3*time.Millisecond, slots.Release)
		began = time.Now()
		if !slots.Acquire() {
			t.Error("no slot when one came free")
		}
		if took := time.Since(began); took != 3*time.Millisecond {
			t.Errorf("it waited %v", took)
		}
		slots.Wait = 0
		began = time.Now()
		if slots.Acquire() || time.Since(began) != 0 {
			t.Error("without a wait it has waited, or found a slot")
		}
		if n := slots.InUse(); n != 2 {
			t.Errorf("%d slots in use", n)
		}
		slots.Release()
		slots.Release()
		defer func() {
			if recover() == nil {
				t.Error("a slot that nobody had was given back")
			}
		}()
		slots.Release()
	})
}

// TestSlotsHold: never more at a time than there are slots.
func TestSlotsHold(t *testing.T) {
	const slotCount = 3
	slots := server.NewSlots(slotCount)
	slots.Wait = time.Minute
	var now, most atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				if !slots.Acquire() {
					t.Error("no slot within a minute")
					return
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				runtime.Gosched()
				now.Add(-1)
				slots.Release()
			}
		})
	}
	all.Wait()
	if most.Load() > slotCount || slots.InUse() != 0 {
		t.Errorf("at most %d at a time, %d left in use", most.Load(), slots.InUse())
	}
}

func TestSlotsDefault(t *testing.T) {
	for _, n := range []int{0, -1} {
		slots := server.NewSlots(n)
		slots.Wait = 0
		got := 0
		for slots.Acquire() {
			got++
		}
		if got != 4*runtime.GOMAXPROCS(0) {
			t.Errorf("NewSlots(%d) has %d slots", n, got)
		}
	}
}
