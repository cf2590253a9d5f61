package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	tnetlog "trpc.group/trpc-go/tnet/log"
	"trpc.group/trpc-go/trpc-go/log"
)

// stderrLogger takes the log lines of trpc-go and tnet, which by default go to
// standard output, where only the suite's own lines belong.
type stderrLogger struct {
	mu    *sync.Mutex
	least log.Level
}

// setUpLogging must run before the framework is used. Warnings and errors are
// the peer's normal business (timeouts, closed connections), so they are shown
// on request only.
func setUpLogging(verbose bool) {
	l := &stderrLogger{mu: new(sync.Mutex), least: log.LevelFatal}
	if verbose {
		l.least = log.LevelDebug
	}
	log.SetLogger(l)
	tnetlog.Default = l
}

func (l *stderrLogger) put(level log.Level, text string) {
	if level < l.least {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(os.Stderr, "%s [%s] %s\n", time.Now().Format("15:04:05.000"), level.String(), text)
}

func (l *stderrLogger) putf(level log.Level, format string, args []interface{}) {
	if level >= l.least {
		l.put(level, fmt.Sprintf(format, args...))
	}
}

func (l *stderrLogger) Trace(args ...interface{}) { l.put(log.LevelTrace, fmt.Sprint(args...)) }
func (l *stderrLogger) Debug(args ...interface{}) { l.put(log.LevelDebug, fmt.Sprint(args...)) }
func (l *stderrLogger) Info(args ...interface{})  { l.put(log.LevelInfo, fmt.Sprint(args...)) }
func (l *stderrLogger) Warn(args ...interface{})  { l.put(log.LevelWarn, fmt.Sprint(args...)) }
func (l *stderrLogger) Error(args ...interface{}) { l.put(log.LevelError, fmt.Sprint(args...)) }
func (l *stderrLogger) Fatal(args ...interface{}) {
	l.put(log.LevelFatal, fmt.Sprint(args...))
	os.Exit(1)
}

func (l *stderrLogger) Tracef(format string, args ...interface{}) {
	l.putf(log.LevelTrace, format, args)
}

func (l *stderrLogger) Debugf(format string, args ...interface{}) {
	l.putf(log.LevelDebug, format, args)
}

func (l *stderrLogger) Infof(format string, args ...interface{}) {
	l.putf(log.LevelInfo, format, args)
}

func (l *stderrLogger) Warnf(format string, args ...interface{}) {
	l.putf(log.LevelWarn, format, args)
}

func (l *stderrLogger) Errorf(format string, args ...interface{}) {
	l.putf(log.LevelError, format, args)
}

func (l *stderrLogger) Fatalf(format string, args ...interface{}) {
	l.putf(log.LevelFatal, format, args)
	os.Exit(1)
}

func (l *stderrLogger) Sync() error                  { return nil }
func (l *stderrLogger) SetLevel(string, log.Level)   {}
func (l *stderrLogger) GetLevel(string) log.Level    { return l.least }
func (l *stderrLogger) With(...log.Field) log.Logger { return l }
