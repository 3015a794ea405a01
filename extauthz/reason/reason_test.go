package reason

import (
	"testing"
)

func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, r := range All() {
		row := r.row()
		switch {
		case row.name == "" || row.meaning == "" || names[row.name]:
			t.Errorf("reason %d: name %q, meaning %q", r, row.name, row.meaning)
		case row.verdict == Allow && row.status != 200, row.verdict == Unable && row.status != 503,
			row.verdict == Deny && (row.status < 400 || row.status > 403):
			t.Errorf("%v: %v with status %d", r, row.verdict, row.status)
		case row.verdict != Allow && row.code == "" && r != CredentialMissing:
			t.Errorf("%v has no error code", r)
		}
		names[row.name] = true
	}
}

func TestZeroAndUnknownDeny(t *testing.T) {
	for _, r := range []Reason{None, count, 255} {
		if r.Verdict() != Deny || r.Status() != 503 {
			t.Errorf("reason %d: %v %d", r, r.Verdict(), r.Status())
		}
	}
	if Verdict(0) != Deny {
		t.Error("the zero verdict is not Deny")
	}
}
