package feed

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs a child's part where this binary was started as one, and
// otherwise the tests; none of them may leave a goroutine behind.
func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(children[role]())
	}
	goleak.VerifyTestMain(m)
}
