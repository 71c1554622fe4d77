(** * α-entmax

    The weights are [(α − 1) z_n − τ]₊^(1/(α − 1)), with the τ for which they sum to 1. Coq's library
    defines real powers by logarithms, and that these exist by the excluded middle: only this file assumes
    it. *)

From Coq Require Import Lia.
From TensorMoE Require Import sums jacobian threshold sparsemax entmax15.

(** ** Powers of the positive part *)

(** [x]₊^a: 0 where x is not positive. *)
Definition power (a x : R) : R := if Rlt_dec 0 x then Rpower x a else 0.

Lemma power_nonneg a x : 0 <= power a x.
Proof. unfold power. destruct (Rlt_dec 0 x); [left; apply exp_pos | lra]. Qed.

Lemma power_low a x : x <= 0 -> power a x = 0.
Proof. intros L. unfold power. destruct (Rlt_dec 0 x); [lra | reflexivity]. Qed.

Lemma power_strict a x y : 0 < a -> x < y -> 0 < power a y -> power a x < power a y.
Proof.
  intros A L P. unfold power in *. destruct (Rlt_dec 0 y) as [Y |]; [| lra].
  destruct (Rlt_dec 0 x) as [X |]; [| exact P]. unfold Rpower.
  apply exp_increasing, Rmult_lt_compat_l; [exact A |].
  apply ln_increasing; assumption.
Qed.

Lemma power_rises a x y : 0 < a -> x <= y -> power a x <= power a y.
Proof.
  intros A [L | ->]; [| lra]. destruct (Req_dec (power a y) 0) as [Z | Z].
  - unfold power in *. destruct (Rlt_dec 0 y); [pose proof (exp_pos (a * ln y)); unfold Rpower in Z; lra |].
    destruct (Rlt_dec 0 x); lra.
  - left. apply power_strict; [exact A | exact L |]. pose proof (power_nonneg a y). lra.
Qed.

Lemma power_high a x : 0 < a -> 1 <= x -> 1 <= power a x.
Proof.
  intros A L. replace 1 with (power a 1) at 1; [apply power_rises; assumption |].
  unfold power. destruct (Rlt_dec 0 1); [| lra]. unfold Rpower. rewrite ln_1, Rmult_0_r. apply exp_0.
Qed.

Lemma power_continuous a : 0 < a -> continuity (power a).
Proof.
  intros A x. destruct (Rlt_dec 0 x) as [X | X].
  - (* Near a positive x, it is Rpower. *)
    apply continuity_pt_locally_ext with (f := fun y => Rpower y a) (a := x); [exact X | |].
    + intros y Hy. unfold power. destruct (Rlt_dec 0 y) as [| Y]; [reflexivity |].
      unfold R_dist in Hy. pose proof (Rle_abs (- (y - x))). rewrite Rabs_Ropp in *. lra.
    + apply derivable_continuous_pt. exists (a * Rpower x (a - 1)). apply derivable_pt_lim_power, X.
  - (* Up to 0 it is 0, and it is smaller than ε up to ε^(1/a). *)
    intros eps Heps. exists (Rpower eps (/ a)). split; [apply exp_pos |]. cbn. unfold R_dist. intros y [_ D].
    rewrite (power_low a x) by lra. rewrite Rminus_0_r, Rabs_pos_eq by apply power_nonneg.
    unfold power. destruct (Rlt_dec 0 y) as [Y | Y]; [| exact Heps].
    rewrite <- (Rpower_1 eps Heps). replace 1 with (/ a * a) by (field; lra). rewrite <- Rpower_mult.
    unfold Rpower at 1 2. apply exp_increasing, Rmult_lt_compat_l; [exact A |].
    apply ln_increasing; [exact Y |].
    pose proof (Rle_abs (y - x)). lra.
Qed.

(** The slope of [x]₊^a is a [x]₊^(a − 1), except at 0. *)
Lemma power_slope a x : x <> 0 -> derivable_pt_lim (power a) x (a * power (a - 1) x).
Proof.
  intros Z. destruct (Rlt_dec 0 x) as [X | X].
  - apply (derivable_pt_lim_locally_ext (fun y => Rpower y a) _ x 0 (x + 1)); [lra | |].
    + intros y Y. unfold power. destruct (Rlt_dec 0 y); [reflexivity | lra].
    + unfold power. destruct (Rlt_dec 0 x); [apply derivable_pt_lim_power; exact X | lra].
  - apply (derivable_pt_lim_locally_ext (fun _ => 0) _ x (x - 1) 0); [lra | |].
    + intros y Y. rewrite power_low; lra.
    + rewrite power_low, Rmult_0_r by lra. apply derivable_pt_lim_const.
Qed.

Lemma power_power a b x : power b (power a x) = power (a * b) x.
Proof.
  unfold power. destruct (Rlt_dec 0 x); [| destruct (Rlt_dec 0 0); lra].
  destruct (Rlt_dec 0 (Rpower x a)) as [| P]; [apply Rpower_mult | exfalso; apply P, exp_pos].
Qed.

Lemma power_one x : power 1 x = part x.
Proof.
  unfold power, part. destruct (Rlt_dec 0 x) as [X | X].
  - rewrite Rpower_1, Rmax_left; lra.
  - rewrite Rmax_right; lra.
Qed.

Lemma power_two x : power 2 x = (part x)².
Proof.
  unfold power, part, Rsqr. destruct (Rlt_dec 0 x) as [X | X].
  - replace 2 with (INR 2) by (cbn; lra). rewrite Rpower_pow, Rmax_left; cbn; lra.
  - rewrite Rmax_right; lra.
Qed.

Section Entmax.

Variable N : nat.

(** p is the α-entmax of the logits z: the equation that the library solves for τ. *)
Definition is_entmax (alpha : R) (z p : nat -> R) : Prop :=
  exists tau, (∀ n < N, p n = power (/ (alpha - 1)) ((alpha - 1) * z n - tau)) /\ sum N p = 1.

Lemma exponent alpha : 1 < alpha -> 0 < / (alpha - 1).
Proof. intros A. apply Rinv_0_lt_compat. lra. Qed.

(** No weight is negative. *)
Theorem entmax_nonnegative alpha z p : is_entmax alpha z p -> ∀ n < N, 0 <= p n.
Proof. intros [tau [W _]] n Hn. rewrite W by exact Hn. apply power_nonneg. Qed.

(** The weights sum to 1. *)
Theorem entmax_sums_to_one alpha z p : is_entmax alpha z p -> Σ n < N, p n = 1.
Proof. intros [_ [_ E]]. exact E. Qed.

(** So no weight is larger than 1. *)
Theorem entmax_at_most_one alpha z p : is_entmax alpha z p -> ∀ n < N, p n <= 1.
Proof.
  intros S n Hn. rewrite <- (entmax_sums_to_one alpha z p S).
  exact (term_le_sum N p n (entmax_nonnegative alpha z p S) Hn).
Qed.

(** All logits have an α-entmax, for each α above 1, if there is at least one logit. *)
Theorem entmax_exists alpha z : 1 < alpha -> (0 < N)%nat -> exists p, is_entmax alpha z p.
Proof.
  intros A Pos. pose proof (exponent alpha A) as X.
  destruct (threshold_exists (power (/ (alpha - 1))) N (power_continuous _ X) (power_low _))
    with (z := fun n => (alpha - 1) * z n) (goal := 1) as [tau E].
  - intros x. apply power_high, X.
  - pose proof (le_INR 1 N Pos). cbn in *. lra.
  - exists (fun n => power (/ (alpha - 1)) ((alpha - 1) * z n - tau)), tau. split; [reflexivity | exact E].
Qed.

(** They have only one: the equation determines the weights. *)
Theorem entmax_unique alpha z p q :
  1 < alpha -> is_entmax alpha z p -> is_entmax alpha z q -> ∀ n < N, p n = q n.
Proof.
  intros A [tau [Wp Ep]] [tau' [Wq Eq]] n Hn. rewrite Wp, Wq by exact Hn. revert n Hn.
  apply (weights_are_unique (power (/ (alpha - 1)))) with (z := fun n => (alpha - 1) * z n).
  - intros x y. apply power_rises, exponent, A.
  - exact (same_sum N p q _ _ _ Wp Ep Wq Eq).
Qed.

(** One number added to all logits changes nothing. *)
Theorem entmax_shift alpha z p c : is_entmax alpha z p -> is_entmax alpha (fun n => z n + c) p.
Proof.
  intros [tau [W E]]. exists (tau + (alpha - 1) * c). split; [| exact E].
  intros n Hn. rewrite W by exact Hn. f_equal. ring.
Qed.

(** α = 2 is sparsemax. *)
Theorem entmax_at_two_is_sparsemax z p : is_entmax 2 z p <-> is_sparsemax N z p.
Proof.
  split; intros [tau [W E]]; exists tau; split; try exact E; intros n Hn; rewrite (W n Hn).
  all: replace (/ (2 - 1)) with 1 by lra; rewrite power_one; f_equal; lra.
Qed.

(** α = 1.5 is 1.5-entmax. *)
Theorem entmax_at_three_halves_is_entmax15 z p : is_entmax (3 / 2) z p <-> is_entmax15 N z p.
Proof.
  split; intros [tau [W E]]; exists tau; split; try exact E; intros n Hn; rewrite (W n Hn).
  all: replace (/ (3 / 2 - 1)) with 2 by lra; rewrite power_two; do 2 f_equal; lra.
Qed.

(** ** The Jacobian *)

(** The slopes in the library's Jacobian: p^(2 − α), and 0 where p is. *)
Theorem entmax_jacobian_symmetric alpha p n m :
  let slope k := power (2 - alpha) (p k) in jacobian N slope n m = jacobian N slope m n.
Proof. apply jacobian_symmetric. Qed.

Theorem entmax_jacobian_rows_sum_to_zero alpha p :
  let slope k := power (2 - alpha) (p k) in ∀ n < N, Σ m < N, jacobian N slope n m = 0.
Proof. apply jacobian_rows_sum_to_zero. intros. apply power_nonneg. Qed.

(** The formula is the derivative, if the threshold has one: where logits change in a direction d, and none of
    them lies at the threshold, the weights have the derivative J d. *)
Theorem entmax_derivative alpha z d tau change :
  let weight t n := power (/ (alpha - 1)) ((alpha - 1) * (z n + t * d n) - tau t) in
  let slope n := power (2 - alpha) (weight 0 n) in
  1 < alpha -> (forall t, Σ n < N, weight t n = 1) -> derivable_pt_lim tau 0 change ->
  (∀ n < N, (alpha - 1) * z n <> tau 0) ->
  ∀ n < N, derivable_pt_lim (fun t => weight t n) 0 (centre N slope d n).
Proof.
  intros weight slope A E T Apart. pose (a := / (alpha - 1)). pose (x n := (alpha - 1) * z n - tau 0).
  assert (At0 : forall n, (alpha - 1) * (z n + 0 * d n) - tau 0 = x n) by (intros n; unfold x; ring).
  assert (Slope : forall n, slope n = power (a - 1) (x n)).
  { intros n. unfold slope, weight. rewrite At0, power_power. f_equal. unfold a. field. lra. }
  pose (rate n := slope n * (d n - a * change)).
  assert (Rate : ∀ n < N, derivable_pt_lim (fun t => weight t n) 0 (rate n)).
  { intros n Hn. unfold rate, weight. rewrite Slope.
    replace (power (a - 1) (x n) * (d n - a * change))
      with (a * power (a - 1) (x n) * ((alpha - 1) * d n - change)) by (unfold a; field; lra).
    apply (derivable_pt_lim_comp (fun t => (alpha - 1) * (z n + t * d n) - tau t) (power a)).
    - apply (derivable_pt_lim_minus (fun t => (alpha - 1) * (z n + t * d n)) tau); [| exact T].
      intros e He. exists (mkposreal 1 Rlt_0_1). intros h Hh _.
      replace (((alpha - 1) * (z n + (0 + h) * d n) - (alpha - 1) * (z n + 0 * d n)) / h - (alpha - 1) * d n)
        with 0 by (field; exact Hh).
      rewrite Rabs_R0. exact He.
    - rewrite At0. apply power_slope. unfold x. pose proof (Apart n Hn). lra. }
  assert (Nothing : sum N rate = 0).
  { apply (uniqueness_limite (fun t => sum N (weight t)) 0); [apply sum_derivative, Rate |].
    intros e He. exists (mkposreal 1 Rlt_0_1). intros h Hh _.
    rewrite (E (0 + h) : sum N (weight (0 + h)) = 1), (E 0 : sum N (weight 0) = 1).
    replace ((1 - 1) / h - 0) with 0 by (field; exact Hh). rewrite Rabs_R0. exact He. }
  assert (Some : sum N slope <> 0).
  { intros Z. pose proof (E 0) as One. rewrite sum_zeros in One; [lra |]. intros n Hn.
    pose proof (term_le_sum N slope n (fun m _ => power_nonneg _ _) Hn) as L. rewrite Z, Slope in L.
    unfold weight. rewrite At0. unfold power in *. destruct (Rlt_dec 0 (x n)); [| reflexivity].
    pose proof (exp_pos ((a - 1) * ln (x n))). unfold Rpower in L. lra. }
  intros n Hn.
  rewrite <- (centre_is_the_change N slope d rate (a * change) Some (fun _ _ => eq_refl) Nothing n Hn).
  apply Rate, Hn.
Qed.

End Entmax.
