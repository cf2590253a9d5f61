//! What a call's result is when its deadline has passed, whoever noticed that first.

use std::time::Instant;

use rpc_core::{Cause, Code, Deadline, Origin, Response, Status};

/// What a call's result is at `now`: an answer that is read after the deadline came too late, although the timer has not
/// fired yet.
pub(crate) fn in_time(
    result: Result<Response, Status>,
    deadline: Deadline,
    now: Instant,
) -> Result<Response, Status> {
    match result {
        Ok(_) if deadline.is_over(now) => Err(Status::new(Code::DeadlineExceeded, "")),
        result => result,
    }
    .map_err(|status| whose_time(status, deadline, now))
}

/// Says whose time it was that ran out. The server learns of the same deadline a moment later, and its answer may be
/// read before our timer fires: to the caller that is no difference.
fn whose_time(status: Status, deadline: Deadline, now: Instant) -> Status {
    let is_over = match (status.code(), status.origin()) {
        (Code::DeadlineExceeded, Origin::Local) => true,
        (Code::CallerTimeout, Origin::Remote) => deadline.is_over(now),
        _ => false,
    };
    match deadline.cause() {
        _ if !is_over => status,
        Cause::Own => Status::new(Code::DeadlineExceeded, "no answer in time"),
        Cause::Caller => Status::new(
            Code::InheritedDeadlineExceeded,
            "no answer within the time inherited from the caller",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpc_core::Clock;

    use super::*;

    #[test]
    fn a_deadline_reads_the_same_whoever_notices_it_first() {
        let now = Clock::system().now();
        let by_timer = || Status::new(Code::DeadlineExceeded, "");
        let by_server = || Status::new(Code::CallerTimeout, "").from_remote();
        for (cause, code) in [
            (Cause::Own, Code::DeadlineExceeded),
            (Cause::Caller, Code::InheritedDeadlineExceeded),
        ] {
            for status in [by_timer(), by_server()] {
                let seen = whose_time(status, Deadline::new(now, cause), now);
                assert_eq!((seen.code(), seen.origin()), (code, Origin::Local));
            }
        }
    }

    #[test]
    fn i11_an_answer_that_is_read_after_the_deadline_is_none() {
        let now = Clock::system().now();
        let at = |at| in_time(Ok(Response::empty()), Deadline::new(at, Cause::Own), now);
        assert!(at(now + Duration::from_millis(1)).is_ok());
        assert_eq!(at(now).unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[test]
    fn other_failures_are_the_answer_even_at_the_deadline() {
        let now = Clock::system().now();
        let seen = |status: Status, at| whose_time(status, Deadline::new(at, Cause::Own), now);
        let own = Status::new(Code::ServerTimeout, "").from_remote();
        assert_eq!(seen(own, now).code(), Code::ServerTimeout);
        // A server whose time runs faster than ours says so too early.
        let early = Status::new(Code::CallerTimeout, "").from_remote();
        let later = now + Duration::from_millis(5);
        assert_eq!(seen(early, later).code(), Code::CallerTimeout);
    }
}
