package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// server is one measured process.
type server struct {
	name    string
	cmd     *exec.Cmd
	address string
	last    result
	results []result
}

// result is one round.
type result struct {
	cpu  float64 // server CPU per check, microseconds
	rate float64 // checks per second
}

// best is the round with the least CPU: noise only adds.
func (s *server) best() result {
	return slices.MinFunc(s.results, func(a, b result) int {
		switch {
		case a.cpu < b.cpu:
			return -1
		case a.cpu > b.cpu:
			return 1
		}
		return 0
	})
}

// listening is where a server says its address: the no-op one alone on a
// line, holdfast in its log.
var listening = regexp.MustCompile(`^127\.0\.0\.1:\d+$|listener"?[=:]"?check.*address"?[=:]"?(127\.0\.0\.1:\d+)`)

// start runs a server and waits until it says where it listens.
func start(ctx context.Context, name, program string, args ...string) (*server, error) {
	s := &server{name: name, cmd: exec.CommandContext(ctx, program, args...)}
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 10 * time.Second
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	w.Close()
	found := make(chan string, 1)
	var log bytes.Buffer
	go func() {
		defer close(found)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				if m[1] == "" {
					m[1] = m[0]
				}
				found <- m[1]
				break
			}
			fmt.Fprintln(&log, lines.Text())
		}
		for lines.Scan() { // keep the pipe empty
		}
	}()
	select {
	case address, ok := <-found:
		if !ok {
			return nil, fmt.Errorf("%s ended before it listened:\n%s", name, &log)
		}
		s.address = address
	case <-time.After(30 * time.Second):
		s.stop()
		return nil, fmt.Errorf("%s did not say where it listens within 30s", name)
	}
	return s, nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// raw sends and takes bytes as they are, so that the client costs little.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// measure drives one round at saturation and notes what it cost the server.
func (s *server) measure(ctx context.Context, o options, request []byte) error {
	var conns []*grpc.ClientConn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range o.connections {
		conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		if err := untilAllowed(ctx, conn, request); err != nil {
			return err
		}
	}
	var done atomic.Int64
	var failed atomic.Pointer[error]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	worker := func(conn *grpc.ClientConn) {
		for ctx.Err() == nil {
			var answer []byte
			if err := conn.Invoke(ctx, checkMethod, &request, &answer); err != nil {
				if ctx.Err() == nil {
					failed.Store(&err)
					cancel()
				}
				return
			}
			done.Add(1)
		}
	}
	for _, conn := range conns {
		for range o.inflight {
			workers.Go(func() { worker(conn) })
		}
	}
	pause(ctx, o.duration/5) // warm
	cpu, err := cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	from, began := done.Load(), time.Now()
	pause(ctx, o.duration)
	checks, took := done.Load()-from, time.Since(began)
	after, err := cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	cancel()
	workers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	if checks == 0 {
		return errors.New("no check was answered")
	}
	s.last = result{cpu: float64((after - cpu).Microseconds()) / float64(checks), rate: float64(checks) / took.Seconds()}
	s.results = append(s.results, s.last)
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// untilAllowed asks until the server is ready: what is measured is an allow.
func untilAllowed(ctx context.Context, conn *grpc.ClientConn, request []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var answer []byte
		err := conn.Invoke(ctx, checkMethod, &request, &answer, grpc.WaitForReady(true))
		var response authv3.CheckResponse
		if err == nil {
			if err = proto.Unmarshal(answer, &response); err == nil && response.GetStatus().GetCode() == 0 {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the request is not allowed: %w (%v)", errors.Join(ctx.Err(), err), &response)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// cpuTime is the user and system time a process has taken: fields 14 and 15
// of /proc/PID/stat, in ticks of 10 ms (proc(5); USER_HZ is 100 on Linux).
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has another form than expected", pid)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
