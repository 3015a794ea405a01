package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// beMain makes the test binary the program itself, race detector and all.
const beMain = "HOLDFAST_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
		return
	}
	testscript.Main(m, map[string]func(){"holdfast": main})
}

// child is a running `holdfast serve`, as its user has it: a child with a
// configuration, its log, and the addresses that the log gives.
type child struct {
	t      *testing.T
	config string
	cmd    *exec.Cmd
	log    *lockedBuffer
	done   chan struct{}
	err    error

	check, admin string // addresses
	envoy        *extauthztest.Envoy
}

// lockedBuffer is written by the child's pipe and read by the test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const deadline = 60 * time.Second // of a loaded machine with the race detector on

// until polls a condition; a test never sleeps for a time it hopes is enough.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", deadline, what)
		}
	}
}

// writeConfig writes a configuration with an issuer's keys beside it; %s in
// the text stands for the folder.
func writeConfig(t *testing.T, issuer *extauthztest.Issuer, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), issuer.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "holdfast.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "%s", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const idp = "https://idp.example"

const basicConfig = `version: 1
listen: {check: {address: "127.0.0.1:0"}, admin: {address: "127.0.0.1:0"}}
issuers: [{issuer: "https://idp.example", audiences: ["https://api.example"], jwks_file: "%s/jwks.json"}]
classes: [{name: any, max_lifetime: 1h}]
feed: {embedded: {directory: "%s/data"}}
decision_log: {destination: stderr}
`

// startChild runs serve and waits until it listens; it is ended with the test.
func startChild(t *testing.T, config string, env ...string) *child {
	t.Helper()
	c := &child{t: t, config: config, log: &lockedBuffer{}, done: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0], "serve", "-c", config)
	c.cmd.Env = append(append(os.Environ(), beMain+"=1"), env...)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(c.kill)
	until(t, "holdfast to listen; its log:\n"+c.log.String(), func() bool {
		select {
		case <-c.done:
			t.Fatalf("holdfast ended at once: %v\n%s", c.err, c.log)
		default:
		}
		c.check, c.admin = c.address("check"), c.address("admin")
		return c.check != "" && c.admin != ""
	})
	envoy, err := extauthztest.Dial(c.check)
	if err != nil {
		t.Fatal(err)
	}
	c.envoy = envoy
	t.Cleanup(func() { envoy.Close() })
	return c
}

func (c *child) address(listener string) string {
	m := regexp.MustCompile(`msg=listening listener=` + listener + ` address=(\S+)`).FindStringSubmatch(c.log.String())
	if m == nil {
		return ""
	}
	return m[1]
}

// startReady is startChild for a server that is ready to decide.
func startReady(t *testing.T, config string) *child {
	t.Helper()
	c := startChild(t, config)
	c.untilReady()
	return c
}

func (c *child) untilReady() {
	c.t.Helper()
	until(c.t, "readiness", func() bool {
		status, _ := c.http("GET", "/readyz", "")
		return status == http.StatusOK
	})
}

// kill ends the child as a crash does.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// terminate ends the child as an orchestrator does and gives its exit code.
func (c *child) terminate() int {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.done
	return c.cmd.ProcessState.ExitCode()
}

// http calls the admin API.
func (c *child) http(method, path, body string, headers ...string) (status int, answer string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.admin+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

// revoke withdraws through the API and gives the answer; it fails the test
// unless it is 201.
func (c *child) revoke(kind, value string) map[string]any {
	c.t.Helper()
	status, body := c.http("POST", "/v1/revocations", fmt.Sprintf(`{"kind":%q,"value":%q,"issuer":%q}`, kind, value, idp))
	if status != http.StatusCreated {
		c.t.Fatalf("revoke %s %s: %d %s", kind, value, status, body)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// ask checks one bearer token and gives the answer.
func (c *child) ask(token string) *extauthztest.Answer {
	c.t.Helper()
	return c.askFor(extauthztest.Request{Headers: [][2]string{{"authorization", "Bearer " + token}}})
}

func (c *child) askFor(r extauthztest.Request) *extauthztest.Answer {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	answer, err := c.envoy.Check(ctx, r)
	if err != nil {
		c.t.Fatalf("check: %v\n%s", err, c.log)
	}
	return answer
}

// wantReason fails unless the token gets this reason.
func (c *child) wantReason(token, want string) {
	c.t.Helper()
	if a := c.ask(token); a.Reason() != want {
		c.t.Fatalf("answer %v, want reason %s", a, want)
	}
}
