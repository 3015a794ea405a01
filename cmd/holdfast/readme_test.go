package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

var update = flag.Bool("update", false, "write the generated parts of README.md")

// TestReadmeReasons holds the README's table to the table of reasons.
func TestReadmeReasons(t *testing.T) {
	const from, to = "<!-- reasons -->\n", "<!-- /reasons -->"
	path := filepath.Join("..", "..", "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), from)
	have, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("README.md lacks the marks %q and %q", from, to)
	}
	want := reasonTable()
	if *update {
		if err := os.WriteFile(path, []byte(before+from+want+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("README.md's reasons differ; go test ./cmd/holdfast -run Readme -update mends it (-want +have):\n%s", diff)
	}
}

func reasonTable() string {
	var b strings.Builder
	b.WriteString("| reason | HTTP | client sees | when |\n|---|---|---|---|\n")
	for _, r := range reason.All() {
		sees := "`" + r.Code() + "`"
		switch {
		case r.Verdict() == reason.Allow:
			sees = "-"
		case r == reason.CredentialMissing:
			sees = "a challenge without error"
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", r, r.Status(), sees, r.Meaning())
	}
	return b.String()
}
