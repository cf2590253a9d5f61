//! The one table between the wire's return codes and [`Code`].
//!
//! A response carries two numbers: `ret` is the framework's, `func_ret` the service's, and 0 in both is success. When
//! both are set, `ret` is the one that counts. The set of `ret` is open: what is not in the table is kept as
//! [`Code::Framework`], and a server may send codes of the asking end when a call of its own failed.

use rpc_core::{Code, Origin, Status};

use crate::limits::{Limits, cut};

/// Both directions read this.
const TABLE: [(i32, Code); 23] = [
    (1, Code::Malformed),
    (2, Code::Unencodable),
    (11, Code::NoService),
    (12, Code::NoMethod),
    (21, Code::ServerTimeout),
    (22, Code::Overloaded),
    (23, Code::RateLimited),
    (24, Code::CallerTimeout),
    (31, Code::Internal),
    (41, Code::Unauthenticated),
    (51, Code::InvalidArgument),
    (101, Code::DeadlineExceeded),
    (102, Code::InheritedDeadlineExceeded),
    (111, Code::Unreachable),
    (121, Code::RequestUnencodable),
    (122, Code::ResponseMalformed),
    (123, Code::ClientRateLimited),
    (124, Code::ClientOverloaded),
    (131, Code::NoEndpoint),
    (141, Code::ConnectionLost),
    (151, Code::RequestInvalid),
    (161, Code::Cancelled),
    (171, Code::ResponseLost),
];

/// What all implementations send for a failure they have no number for.
const UNKNOWN: i32 = 999;

/// The code that a `ret` other than 0 stands for.
pub fn code(ret: i32) -> Code {
    TABLE
        .iter()
        .find_map(|&(number, code)| (number == ret).then_some(code))
        .unwrap_or(Code::Framework(ret))
}

/// The number of a code, never 0: a failure must not read as success.
pub fn number(code: Code) -> i32 {
    let number = match code {
        Code::Framework(number) | Code::Service(number) => number,
        code => TABLE
            .iter()
            .find_map(|&(number, known)| (known == code).then_some(number))
            .unwrap_or(UNKNOWN),
    };
    if number == 0 { UNKNOWN } else { number }
}

/// The two numbers of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Returned {
    /// The framework's result.
    pub ret: i32,
    /// The service's result.
    pub func_ret: i32,
}

/// How a failure leaves a server. What the framework of this process decided is the framework's result. What the service
/// decided is the service's, and so is what a downstream server's framework decided when the handler returns it
/// unchanged: to the caller it is this service that failed, and nobody may read it as a refusal of this server.
pub fn to_wire(status: &Status) -> Returned {
    let number = number(status.code());
    match (status.code(), status.origin()) {
        (Code::Service(_), _) | (_, Origin::Remote) => Returned {
            ret: 0,
            func_ret: number,
        },
        (_, Origin::Local) => Returned {
            ret: number,
            func_ret: 0,
        },
    }
}

/// What a response says about its call: `None` is success. The text is made UTF-8 and cut to
/// [`Limits::message_bytes_max`].
pub fn from_wire(ret: i32, func_ret: i32, error_msg: &[u8], limits: &Limits) -> Option<Status> {
    let code = match (ret, func_ret) {
        (0, 0) => return None,
        (0, func_ret) => Code::Service(func_ret),
        (ret, _) => code(ret),
    };
    let text = readable(error_msg, limits.message_bytes_max);
    Some(Status::new(code, text).from_remote())
}

/// `bytes` as text of at most `bytes_max`, in which a mark stands for what is not UTF-8.
fn readable(bytes: &[u8], bytes_max: usize) -> String {
    const MARK: &str = "\u{fffd}";
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let mark = if chunk.invalid().is_empty() { "" } else { MARK };
        for piece in [chunk.valid(), mark] {
            let fitting = cut(piece, bytes_max.saturating_sub(text.len()));
            text.push_str(fitting);
            if fitting.len() < piece.len() {
                return text;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ret: i32, func_ret: i32, error_msg: &[u8]) -> Option<Status> {
        from_wire(ret, func_ret, error_msg, &Limits::default())
    }

    #[test]
    fn numbers_and_codes_are_told_apart_both_ways() {
        for (i, &(ret, known)) in TABLE.iter().enumerate() {
            assert_eq!((code(ret), number(known)), (known, ret));
            for &(other_ret, other) in &TABLE[i + 1..] {
                assert!(ret != other_ret && known != other);
            }
        }
    }

    #[test]
    fn numbers_outside_the_table_are_kept() {
        for ret in [-1, 3, 201, 999, i32::MIN, i32::MAX] {
            assert_eq!(code(ret), Code::Framework(ret));
            assert_eq!(number(Code::Framework(ret)), ret);
            assert_eq!(number(Code::Service(ret)), ret);
        }
    }

    #[test]
    fn no_failure_passes_for_success() {
        for code in [Code::Framework(0), Code::Service(0)] {
            assert_ne!(to_wire(&Status::new(code, "")), Returned::default());
            let remote = Status::new(code, "").from_remote();
            assert_ne!(to_wire(&remote), Returned::default());
        }
    }

    #[test]
    fn the_frameworks_own_failures_go_to_ret() {
        let returned = to_wire(&Status::new(Code::NoMethod, ""));
        assert_eq!(
            returned,
            Returned {
                ret: 12,
                func_ret: 0
            }
        );
    }

    #[test]
    fn a_services_number_goes_to_func_ret() {
        let returned = to_wire(&Status::service(-7, ""));
        assert_eq!(
            returned,
            Returned {
                ret: 0,
                func_ret: -7
            }
        );
    }

    #[test]
    fn a_downstream_refusal_is_not_a_refusal_of_ours() {
        let downstream = read(22, 0, b"server overload").unwrap();
        assert!(downstream.is_unexecuted());
        assert_eq!(
            to_wire(&downstream),
            Returned {
                ret: 0,
                func_ret: 22
            }
        );
    }

    #[test]
    fn only_refusals_by_the_server_itself_count_as_not_executed() {
        for &(ret, _) in &TABLE {
            let unexecuted = read(ret, 0, b"").unwrap().is_unexecuted();
            assert_eq!(unexecuted, matches!(ret, 22 | 23), "ret {ret}");
        }
    }

    #[test]
    fn success_is_zero_in_both_and_ret_wins() {
        assert!(read(0, 0, b"a text without an error").is_none());
        assert_eq!(read(999, 999, b"").unwrap().code(), Code::Framework(999));
        assert_eq!(read(0, -1, b"neg").unwrap().code(), Code::Service(-1));
        assert_eq!(read(31, -1, b"").unwrap().code(), Code::Internal);
    }

    #[test]
    fn what_comes_from_a_peer_says_so() {
        assert_eq!(read(31, 0, b"").unwrap().origin(), Origin::Remote);
    }

    #[test]
    fn a_peers_text_is_made_readable_and_cut() {
        let status = from_wire(31, 0, b"caf\xc3\xa9 \xff\xfe!", &Limits::default()).unwrap();
        assert_eq!(status.message(), "café \u{fffd}\u{fffd}!");
        let limits = Limits::default().with_message_bytes_max(4);
        let status = from_wire(31, 0, "café".as_bytes(), &limits).unwrap();
        assert_eq!(status.message(), "caf");
        let status = from_wire(31, 0, &vec![0xff; 65_000], &Limits::default()).unwrap();
        assert_eq!(status.message().len(), 1023);
    }
}
