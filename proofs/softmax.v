(** * Softmax, and top-k

    The weights are exp(z_n) divided by their sum. A logit of −∞ gets the weight 0: here, only the indices
    that are kept have a finite logit. top_k is this with the k largest kept, and softmax keeps all. *)

From Coq Require Import Lia.
From TensorMoE Require Import sums jacobian.

Section Softmax.

Variable N : nat.
Variable kept : nat -> bool.

Definition share (z : nat -> R) (n : nat) : R := if kept n then exp (z n) else 0.
Definition softmax (z : nat -> R) (n : nat) : R := share z n / sum N (share z).

Lemma share_nonneg z n : 0 <= share z n.
Proof. unfold share. destruct (kept n); [left; apply exp_pos | lra]. Qed.

Hypothesis some_kept : exists n, (n < N)%nat /\ kept n = true.

Lemma shares_positive z : 0 < sum N (share z).
Proof.
  destruct some_kept as [n [Hn K]].
  pose proof (term_le_sum N (share z) n (fun m _ => share_nonneg z m) Hn) as L.
  unfold share at 1 in L. rewrite K in L. pose proof (exp_pos (z n)). lra.
Qed.

(** No weight is negative. *)
Theorem softmax_nonnegative z n : 0 <= softmax z n.
Proof. apply Rle_mult_inv_pos; [apply share_nonneg | apply shares_positive]. Qed.

(** Those that are kept are positive, and the others are 0. *)
Theorem softmax_positive z n : kept n = true -> 0 < softmax z n.
Proof.
  intros K. unfold softmax, share at 1. rewrite K.
  apply Rdiv_lt_0_compat; [apply exp_pos | apply shares_positive].
Qed.

Theorem softmax_dropped z n : kept n = false -> softmax z n = 0.
Proof. intros K. unfold softmax, share at 1. rewrite K. unfold Rdiv. ring. Qed.

(** The weights sum to 1. *)
Theorem softmax_sums_to_one z : Σ n < N, softmax z n = 1.
Proof. unfold softmax. rewrite sum_divide. field. pose proof (shares_positive z). lra. Qed.

(** So no weight is larger than 1. *)
Theorem softmax_at_most_one z : ∀ n < N, softmax z n <= 1.
Proof.
  intros n Hn. rewrite <- (softmax_sums_to_one z).
  apply (term_le_sum N (softmax z)); [intros; apply softmax_nonnegative | exact Hn].
Qed.

(** One number added to all logits changes nothing. *)
Theorem softmax_shift z c n : softmax (fun m => z m + c) n = softmax z n.
Proof.
  assert (E : forall m, share (fun m => z m + c) m = exp c * share z m).
  { intros m. unfold share. destruct (kept m); [rewrite exp_plus |]; ring. }
  unfold softmax. rewrite E, (sum_ext N _ (fun m => exp c * share z m)) by auto. rewrite sum_scale.
  field. pose proof (shares_positive z). pose proof (exp_pos c). lra.
Qed.

(** ** The Jacobian, whose slopes are the weights themselves: diag(p) − p pᵀ *)

Theorem softmax_jacobian_symmetric z n m : jacobian N (softmax z) n m = jacobian N (softmax z) m n.
Proof. apply jacobian_symmetric. Qed.

Theorem softmax_jacobian_rows_sum_to_zero z : ∀ n < N, Σ m < N, jacobian N (softmax z) n m = 0.
Proof. apply jacobian_rows_sum_to_zero. intros. apply softmax_nonnegative. Qed.

Lemma share_derivative z d n : derivable_pt_lim (fun t => share (fun m => z m + t * d m) n) 0 (share z n * d
  n).
Proof.
  unfold share. destruct (kept n); [| rewrite Rmult_0_l; apply derivable_pt_lim_const].
  apply (derivable_pt_lim_comp (fun t => z n + t * d n) exp 0 (d n)).
  - intros e He. exists (mkposreal 1 Rlt_0_1). intros h Hh _.
    replace ((z n + (0 + h) * d n - (z n + 0 * d n)) / h - d n) with 0 by (field; exact Hh).
    rewrite Rabs_R0. exact He.
  - replace (z n + 0 * d n) with (z n) by ring. apply derivable_pt_lim_exp.
Qed.

(** The formula is the derivative, at all logits and in each direction d. *)
Theorem softmax_derivative z d : ∀ n < N,
  derivable_pt_lim (fun t => softmax (fun m => z m + t * d m) n) 0 (centre N (softmax z) d n).
Proof.
  intros n Hn. pose proof (shares_positive z) as P.
  assert (E : forall m, share (fun m => z m + 0 * d m) m = share z m).
  { intros m. unfold share. destruct (kept m); [f_equal |]; ring. }
  pose proof (derivable_pt_lim_div (fun t => share (fun m => z m + t * d m) n) (fun t => sum N (share (fun m
    => z m + t * d m)))
    0 _ _ (share_derivative z d n) (sum_derivative N _ _ 0 (fun m _ => share_derivative z d m))) as D.
  cbn beta in D. rewrite E, (sum_ext N _ (share z)) in D by auto.
  replace (centre N (softmax z) d n)
    with ((share z n * d n * sum N (share z) - (Σ m < N, share z m * d m) * share z n) / (sum N (share z))²);
      [apply D; lra |].
  unfold centre. rewrite total_is by (rewrite softmax_sums_to_one; lra). rewrite softmax_sums_to_one.
  rewrite (sum_ext N (fun m => softmax z m * d m) (fun m => share z m * d m / sum N (share z))).
  2: { intros. unfold softmax. field. lra. }
  rewrite sum_divide. unfold softmax, Rsqr. field. lra.
Qed.

End Softmax.
