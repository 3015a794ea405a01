package envoy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// seen is what the upstream got.
type seen struct {
	Method, Host, Path string
	Headers            map[string][]string // names in lower case
}

func echo(w http.ResponseWriter, r *http.Request) {
	got := seen{r.Method, r.Host, r.RequestURI, map[string][]string{}}
	for name, values := range r.Header {
		name = strings.ToLower(name)
		got.Headers[name] = append(got.Headers[name], values...)
	}
	_ = json.NewEncoder(w).Encode(got)
}

// result is an answer, what the upstream saw of the request, and Envoy's line
// about it where Holdfast was asked.
type result struct {
	status int
	header http.Header
	body   string
	seen   *seen // nil: it never got there
	line   line
}

// line is one of the access log.
type line struct {
	Status     int     `json:"status"`
	RequestID  string  `json:"request_id"`
	Decision   string  `json:"decision"`
	Reason     string  `json:"reason"`
	Enforced   *bool   `json:"enforced"`
	DecisionID string  `json:"decision_id"`
	Class      *string `json:"class"`
	Route      *string `json:"route"`
}

// get sends a plain request with a bearer token.
func (e *edge) get(t *testing.T, path, token string, headers ...string) *result {
	t.Helper()
	if token != "" {
		headers = append(headers, "Authorization: Bearer "+token)
	}
	return e.send(t, "GET "+path+" HTTP/1.1", headers...)
}

// send writes a request line and header lines as they are, with a Host unless
// the headers bring one.
func (e *edge) send(t *testing.T, first string, headers ...string) *result {
	t.Helper()
	text := first + "\r\n"
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Host:") }) {
		text += "Host: app.example\r\n"
	}
	for _, h := range headers {
		text += h + "\r\n"
	}
	return e.write(t, text+"Connection: close\r\n\r\n")
}

// write sends bytes on a connection of their own and reads one answer.
func (e *edge) write(t *testing.T, text string) *result {
	t.Helper()
	conn, err := net.DialTimeout("tcp", e.Listener, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer to %q: %v", text, err)
	}
	defer res.Body.Close()
	return e.result(t, res)
}

// result reads an answer and finds its line in the access log: by the id of
// the decision in a denial's body, or by the request id that the upstream saw.
func (e *edge) result(t *testing.T, res *http.Response) *result {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := &result{status: res.StatusCode, header: res.Header, body: string(body)}
	var denial struct {
		ID string `json:"decision_id"`
	}
	switch {
	case r.status == http.StatusOK && res.Header.Get("Grpc-Status") == "":
		r.seen = new(seen)
		if err := json.Unmarshal(body, r.seen); err != nil {
			t.Fatalf("the upstream's answer %q: %v", body, err)
		}
		id := strings.Join(r.seen.Headers["x-request-id"], "|")
		r.line = e.find(t, func(l line) bool { return l.RequestID == id })
	case json.Unmarshal(body, &denial) == nil && denial.ID != "":
		r.line = e.find(t, func(l line) bool { return l.DecisionID == denial.ID })
	}
	return r
}

// find waits for a line of the access log.
func (e *edge) find(t *testing.T, is func(line) bool) (found line) {
	t.Helper()
	eventually(t, func() error {
		text, err := os.ReadFile(e.access)
		if err != nil {
			return err
		}
		for raw := range bytes.Lines(text) {
			var l line
			if json.Unmarshal(raw, &l) == nil && is(l) {
				found = l
				return nil
			}
		}
		return fmt.Errorf("no such line in %s", text)
	})
	return found
}

// eventually tries until there is no error.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("gave up after %s: %v", patience, err)
		}
		<-tick.C
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wants holds an answer to a status and a reason.
func (r *result) wants(t *testing.T, what string, status int, reason string) {
	t.Helper()
	if r.status != status || r.line.Reason != reason {
		t.Errorf("%s: got %d %q %s, want %d %q", what, r.status, r.line.Reason, r.body, status, reason)
	}
}
