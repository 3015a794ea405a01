package upstream

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEcho(t *testing.T) {
	server := httptest.NewServer(Handler("api"))
	t.Cleanup(server.Close)
	req, err := http.NewRequest("PATCH", server.URL+"/a%2Fb/../c?q=1", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.example"
	req.Header = http.Header{
		"Authorization": {"Bearer secret"}, "Cookie": {"secret=1"}, "X-Other": {"x"},
		"X-Holdfast-Subject": {"alice", "second"}, "X-HOLDFAST-Session": {"s1"}, "X-Holdfastish": {"x"},
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got Echo
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := Echo{
		Upstream: "api", Method: "PATCH", Host: "api.example", Path: "/a%2Fb/../c?q=1",
		Headers: map[string][]string{"x-holdfast-subject": {"alice", "second"}, "x-holdfast-session": {"s1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(string(body), "secret") || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s", res.Header, body)
	}
}
