//! Plays a case: does its steps one after the other, on connections to or from the peer under test. `README.md` lists
//! what a step can be.

use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::Case;
use crate::flow;
use crate::frame::{self, Frame};
use crate::pattern::{self, Names};
use crate::peer::Peer;
use crate::stage::Stage;
use crate::template;
use crate::time::pause;
use crate::wire::{Connection, Next};

/// The id of calls that only find out whether the connection lives.
const ALIVE_ID: u32 = 0x0a11_fe00;

/// Plays `steps` of `case` with `peer`, and waits for what is due for `patience` at most.
///
/// # Errors
///
/// Which step did not come true, and what came instead.
pub fn play(case: &Case, steps: &[Value], peer: &Peer, patience: Duration) -> Result<(), String> {
    let mut stage = Stage::new(case, peer, patience)?;
    for (number, step) in (1..).zip(steps) {
        match play_step(&mut stage, step) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(error) => return Err(format!("step {number}: {error}{}", stage.last_words())),
        }
    }
    Ok(())
}

/// Plays one step; it may say that the case is over.
fn play_step(stage: &mut Stage<'_>, step: &Value) -> Result<ControlFlow<()>, String> {
    if let Some(times) = step.get("repeat").and_then(Value::as_u64) {
        return repeat(stage, times, step);
    }
    let step = template::fill_in(step, &stage.names)?;
    if let Some(condition) = step.get("done_if") {
        let known = json!(stage.names);
        let holds = pattern::holds(condition, Some(&known), "names", &mut Names::new());
        return Ok(match holds {
            Ok(()) => ControlFlow::Break(()),
            Err(_) => ControlFlow::Continue(()),
        });
    }
    let played = wire_step(stage, &step).or_else(|| other_step(stage, &step));
    played
        .unwrap_or_else(|| Err(format!("{step} says nothing to do")))
        .map(ControlFlow::Continue)
}

/// The steps within so many times; `$i` counts from 0 and `$n` from `from`.
fn repeat(stage: &mut Stage<'_>, times: u64, step: &Value) -> Result<ControlFlow<()>, String> {
    let steps = step["steps"].as_array().ok_or("repeat without steps")?;
    let from = step["from"].as_u64().unwrap_or(0);
    for i in 0..times {
        stage.names.insert("i".to_owned(), json!(i));
        stage.names.insert("n".to_owned(), json!(from + i));
        for step in steps {
            let played = play_step(stage, step);
            let played = played.map_err(|error| format!("round {i}: {error}"))?;
            if played.is_break() {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Steps that write to a connection or read from it.
fn wire_step(stage: &mut Stage<'_>, step: &Value) -> Option<Result<(), String>> {
    let on = step["on"].as_str().unwrap_or(stage.usual()).to_owned();
    let patience = step["within_ms"].as_u64();
    let patience = patience.map_or(stage.patience, Duration::from_millis);
    let (verb, given) = step.as_object()?.iter().find(|(name, _)| {
        let verbs = [
            "send",
            "expect",
            "expect_each",
            "silence_ms",
            "closed",
            "alive",
            "stream_alive",
            "flow",
            "connect",
            "accept",
            "finish",
            "hang_up",
        ];
        verbs.contains(&name.as_str())
    })?;
    let number = given.as_u64().unwrap_or(0);
    Some(match verb.as_str() {
        "send" => send(stage, &on, given, step),
        "expect" => expect(stage, &on, given, step, patience),
        "expect_each" => expect_each(stage, &on, given, step, patience),
        "silence_ms" => silence(stage, &on, step, Duration::from_millis(number)),
        "closed" => closed(stage, &on, step, patience),
        "alive" => alive(stage, &on, number, step),
        "stream_alive" => stream_alive(stage, &on, number, step),
        "flow" => stage
            .connection(&on)
            .and_then(|connection| flow::exchange(connection, given, patience)),
        "finish" => stage.connection(&on).map(Connection::finish),
        "hang_up" => hang_up(stage, &on, step),
        _ => stage.connection(&on).map(drop),
    })
}

/// Steps that concern the client under test, or nobody.
fn other_step(stage: &mut Stage<'_>, step: &Value) -> Option<Result<(), String>> {
    let patience = stage.patience;
    if let Some(pattern) = step.get("outcome") {
        return Some(outcomes(stage, std::slice::from_ref(pattern), patience));
    }
    if let Some(patterns) = step.get("outcomes").and_then(Value::as_array) {
        return Some(outcomes(stage, patterns, patience));
    }
    if step.get("ended").is_some() {
        return Some(stage.ended(patience));
    }
    if let Some(time) = step.get("wait_ms").and_then(Value::as_u64) {
        pause(Duration::from_millis(time));
        return Some(Ok(()));
    }
    let same = step.get("same").and_then(Value::as_array)?;
    let texts: Vec<_> = same
        .iter()
        .map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
        .collect();
    let is_same = texts.windows(2).all(|pair| pair[0] == pair[1]);
    Some(if is_same {
        Ok(())
    } else {
        Err(format!("these are not the same: {}", texts.join(", ")))
    })
}

fn send(stage: &mut Stage<'_>, on: &str, frames: &Value, step: &Value) -> Result<(), String> {
    let list = match frames {
        Value::Array(frames) => frames.clone(),
        frame => vec![frame.clone()],
    };
    let size = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok());
    let written: Result<Vec<_>, _> = list.iter().map(frame::write).collect();
    let mut bytes = written?.concat().repeat(size(&step["times"]).unwrap_or(1));
    bytes.truncate(size(&step["only_bytes"]).unwrap_or(usize::MAX));
    let cuts: Vec<_> = if step["cuts"] == json!("each") {
        (1..bytes.len()).collect()
    } else {
        let cuts = step["cuts"].as_array().into_iter().flatten();
        cuts.filter_map(size).collect()
    };
    let between = step["pause_ms"].as_u64().map(Duration::from_millis);
    let connection = stage.connection(on)?;
    let mut sent = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        let piece = bytes.get(sent..cut);
        connection.send(piece.ok_or_else(|| format!("no cut at {cut} is possible"))?)?;
        sent = cut;
        if let Some(time) = between.filter(|_| sent < bytes.len()) {
            pause(time);
        }
    }
    Ok(())
}

fn expect(
    stage: &mut Stage<'_>,
    on: &str,
    pattern: &Value,
    step: &Value,
    patience: Duration,
) -> Result<(), String> {
    for _ in 0..step["times"].as_u64().unwrap_or(1) {
        let next = next(stage, on, step, patience, pattern)?;
        if matches!(next, Next::End) && pattern::allows_end(pattern) {
            return Ok(());
        }
        let frame = frame_of(next)?;
        pattern::holds_of(pattern, &frame, &mut stage.names)
            .map_err(|error| format!("{error}, in {frame}"))?;
    }
    Ok(())
}

/// So many frames as there are patterns, in any order, one for each.
fn expect_each(
    stage: &mut Stage<'_>,
    on: &str,
    patterns: &Value,
    step: &Value,
    patience: Duration,
) -> Result<(), String> {
    let mut open = patterns
        .as_array()
        .ok_or("expect_each wants a list")?
        .clone();
    while !open.is_empty() {
        let frame = frame_of(next(stage, on, step, patience, &Value::Null)?)?;
        let names = &mut stage.names;
        let mut due = open.iter();
        let found = due.position(|pattern| pattern::holds_of(pattern, &frame, names).is_ok());
        let Some(at) = found else {
            let due = json!(open);
            return Err(format!("{frame} is none of what is still due: {due}"));
        };
        open.swap_remove(at);
    }
    Ok(())
}

fn silence(stage: &mut Stage<'_>, on: &str, step: &Value, time: Duration) -> Result<(), String> {
    match next(stage, on, step, time, &Value::Null)? {
        Next::Silence => Ok(()),
        other => Err(format!("{} where silence was expected", show(&other))),
    }
}

fn closed(stage: &mut Stage<'_>, on: &str, step: &Value, patience: Duration) -> Result<(), String> {
    match next(stage, on, step, patience, &Value::Null)? {
        Next::End => Ok(()),
        other => Err(format!("{} where the end was expected", show(&other))),
    }
}

/// A call on the same connection is answered, and nothing came before its answer. It takes `delay` milliseconds, so
/// that whatever should not come has time to.
fn alive(stage: &mut Stage<'_>, on: &str, delay: u64, step: &Value) -> Result<(), String> {
    let call = json!({
        "request": {"call": "Echo", "request_id": ALIVE_ID},
        "body": {"as": {"Payload": {"data": "alive", "delay_ms": delay}}},
    });
    let answer = json!({
        "response": {"request_id": ALIVE_ID, "ret": 0, "func_ret": 0},
        "as": {"Payload": {"data": "alive"}},
    });
    let patience = stage.patience + Duration::from_millis(delay);
    send(stage, on, &call, &json!({}))
        .and_then(|()| expect(stage, on, &answer, step, patience))
        .map_err(|error| format!("the connection does not live on: {error}"))
}

/// A stream of another id on the same connection does what it should, and nothing came before its answers.
fn stream_alive(stage: &mut Stage<'_>, on: &str, id: u64, step: &Value) -> Result<(), String> {
    let patience = stage.patience;
    let open = json!({"init": {"open": "Spread", "init_window_size": 65535}, "stream_id": id});
    let ask = json!([
        {"data": {"as": {"SpreadRequest": {"count": 1, "size": 1}}}, "stream_id": id},
        {"close": {}, "stream_id": id},
    ]);
    let answers = [
        json!({"data": {}, "stream_id": id}),
        json!({"close": {"close_type": 0, "ret": 0}, "stream_id": id}),
    ];
    let opened = json!({"init": {"response_meta": {"ret": 0}}, "stream_id": id});
    let mut play = || {
        send(stage, on, &open, &json!({}))?;
        expect(stage, on, &opened, step, patience)?;
        send(stage, on, &ask, &json!({}))?;
        let mut answers = answers.iter();
        answers.try_for_each(|answer| expect(stage, on, answer, step, patience))
    };
    play().map_err(|error: String| format!("the connection does not live on: {error}"))
}

/// Ends a connection, when so many bytes have come or at once.
fn hang_up(stage: &mut Stage<'_>, on: &str, step: &Value) -> Result<(), String> {
    if let Some(bytes) = step["after_bytes"].as_u64() {
        let patience = stage.patience;
        stage.connection(on)?.await_bytes(bytes, patience)?;
    }
    stage.hang_up(on);
    Ok(())
}

/// So many outcomes as there are patterns, in any order.
fn outcomes(stage: &mut Stage<'_>, patterns: &[Value], patience: Duration) -> Result<(), String> {
    let mut open = patterns.to_vec();
    while !open.is_empty() {
        let outcome = stage.outcome(patience)?;
        let held: Vec<_> = open
            .iter()
            .map(|pattern| pattern::holds(pattern, Some(&outcome), "outcome", &mut stage.names))
            .collect();
        let Some(at) = held.iter().position(Result::is_ok) else {
            let reasons: Vec<_> = held.into_iter().filter_map(Result::err).collect();
            return Err(format!("{}, in {outcome}", reasons.join("; and ")));
        };
        open.swap_remove(at);
    }
    Ok(())
}

/// What came next, but for frames that the case or the step passes over, unless they are what is expected.
fn next(
    stage: &mut Stage<'_>,
    on: &str,
    step: &Value,
    patience: Duration,
    expected: &Value,
) -> Result<Next, String> {
    let passed_over = step["ignoring"].as_array().cloned().unwrap_or_default();
    loop {
        let next = stage.next(on, patience)?;
        let Next::Frame(frame) = &next else {
            return Ok(next);
        };
        let passed_by_case = stage.case.passed_over(&stage.peer.name);
        let mut patterns = passed_over.iter().chain(passed_by_case);
        let scratch = &mut stage.names.clone();
        let is_expected =
            !expected.is_null() && pattern::holds_of(expected, frame, scratch).is_ok();
        if is_expected || !patterns.any(|it| pattern::holds_of(it, frame, scratch).is_ok()) {
            return Ok(next);
        }
    }
}

fn frame_of(next: Next) -> Result<Frame, String> {
    match next {
        Next::Frame(frame) => Ok(*frame),
        other => Err(format!("{} where a frame was expected", show(&other))),
    }
}

fn show(next: &Next) -> String {
    match next {
        Next::Frame(frame) => frame.to_string(),
        Next::Silence => "silence".to_owned(),
        Next::End => "the end of the connection".to_owned(),
        Next::Broken(why) => format!("no sound frame ({why})"),
    }
}
