package feed

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// Promise 1: whatever was acknowledged is there after kill -9 at any moment.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var all []string
	for range 20 {
		cmd, lines, stderr := child(t, "writer", dir, nil)
		for n := 1 + random.IntN(30); n > 0 && lines.Scan(); n-- {
			sid, ok := strings.CutPrefix(lines.Text(), "acked ")
			if !ok {
				t.Fatalf("%s\n%s", lines.Text(), stderr)
			}
			all = append(all, sid)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		all = append(all, acked(t, lines)...) // what came before the kill did
		_ = cmd.Wait()
		if strings.Contains(stderr.String(), "broken") {
			t.Fatal(stderr)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d were acknowledged", len(all))
	}
	holds(t, dir, all)
}
