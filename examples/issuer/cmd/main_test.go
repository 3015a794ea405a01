package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestRun: the command prints a URL that answers, and ends when told to.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{}, out) }()
	url, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(strings.TrimSpace(url)+"/token", "application/x-www-form-urlencoded", strings.NewReader("user=alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(body), `"access_token":"ey`) {
		t.Errorf("%s, %v", body, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"-listen", "0.0.0.0:0"}, {"-listen", ":0"}, {"-listen", "nonsense"}, {"-audience", ""}, {"-nope"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("run(%q) = nil", args)
		}
	}
}
